//! Integers as Kubernetes reads them: a JSON number with an integral value, however it is written.
//!
//! YAML and other tools on the way turn `3000` into `3000.0` at times, and the API server stores both as the same
//! number, so both must decode. A fraction or a string is an error.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserializer;
use serde::de::{self, Unexpected, Visitor};

/// Decodes an integer; use with `deserialize_with` on a field that must be present.
pub(crate) fn required<'de, D, I>(deserializer: D) -> Result<I, D::Error>
where
    D: Deserializer<'de>,
    I: TryFrom<i64>,
{
    deserializer.deserialize_i64(Integral(PhantomData))
}

/// Decodes an integer or null, which is the same as absent; use with `default` and `deserialize_with`.
pub(crate) fn optional<'de, D, I>(deserializer: D) -> Result<Option<I>, D::Error>
where
    D: Deserializer<'de>,
    I: TryFrom<i64>,
{
    deserializer.deserialize_option(Nullable(PhantomData))
}

struct Nullable<I>(PhantomData<I>);

impl<'de, I: TryFrom<i64>> Visitor<'de> for Nullable<I> {
    type Value = Option<I>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer")
    }

    fn visit_none<E: de::Error>(self) -> Result<Option<I>, E> {
        Ok(None)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Option<I>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<I>, D::Error> {
        required(deserializer).map(Some)
    }
}

struct Integral<I>(PhantomData<I>);

impl<I: TryFrom<i64>> Visitor<'_> for Integral<I> {
    type Value = I;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an integer of {} bits", size_of::<I>() * 8)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<I, E> {
        I::try_from(number).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<I, E> {
        match i64::try_from(number) {
            Ok(number) => self.visit_i64(number),
            Err(_) => Err(E::invalid_value(Unexpected::Unsigned(number), &self)),
        }
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<I, E> {
        // Above 2^53 a float no longer says which integer was meant.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if number.fract() != 0.0 || number.abs() > EXACT {
            return Err(E::invalid_value(Unexpected::Float(number), &self));
        }
        #[allow(clippy::cast_possible_truncation)] // The range was just checked.
        self.visit_i64(number as i64)
    }
}
