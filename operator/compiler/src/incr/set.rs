//! Sets that mostly have one element.

use std::collections::{BTreeSet, btree_set};
use std::option;

/// A set that is never empty. Most groups have one Mapping and most clusters one user, and the smallest node of a
/// B-tree has room for eleven: with 10,000 Mappings that alone would be five megabytes of nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Set<E> {
    /// Exactly one element.
    One(E),
    /// At least two.
    Many(BTreeSet<E>),
}

impl<E: Ord> Set<E> {
    /// The smallest element.
    pub fn first(&self) -> Option<&E> {
        match self {
            Set::One(only) => Some(only),
            Set::Many(elements) => elements.first(),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Set::One(_) => 1,
            Set::Many(elements) => elements.len(),
        }
    }

    /// Elements from the smallest on.
    pub fn iter(&self) -> Iter<'_, E> {
        self.into_iter()
    }

    /// Puts an element in; false when it was there.
    pub fn insert(this: &mut Option<Self>, element: E) -> bool {
        match this {
            None => *this = Some(Set::One(element)),
            Some(Set::Many(elements)) => return elements.insert(element),
            Some(Set::One(only)) if *only == element => return false,
            Some(Set::One(_)) => {
                if let Some(Set::One(only)) = this.take() {
                    *this = Some(Set::Many(BTreeSet::from([only, element])));
                }
            }
        }
        true
    }

    /// Takes an element out; false when it was not there. An empty set is no set.
    pub fn remove(this: &mut Option<Self>, element: &E) -> bool {
        match this {
            None => false,
            Some(Set::One(only)) => {
                let found = only == element;
                if found {
                    *this = None;
                }
                found
            }
            Some(Set::Many(elements)) => {
                let found = elements.remove(element);
                if elements.len() < 2 {
                    *this = elements.pop_first().map(Set::One);
                }
                found
            }
        }
    }
}

/// Elements of a [`Set`] in order.
pub enum Iter<'a, E> {
    /// Of one.
    One(option::IntoIter<&'a E>),
    /// Of several.
    Many(btree_set::Iter<'a, E>),
}

impl<'a, E> Iterator for Iter<'a, E> {
    type Item = &'a E;

    fn next(&mut self) -> Option<&'a E> {
        match self {
            Iter::One(only) => only.next(),
            Iter::Many(elements) => elements.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Iter::One(only) => only.size_hint(),
            Iter::Many(elements) => elements.size_hint(),
        }
    }
}

impl<'a, E> IntoIterator for &'a Set<E> {
    type Item = &'a E;
    type IntoIter = Iter<'a, E>;

    fn into_iter(self) -> Iter<'a, E> {
        match self {
            Set::One(only) => Iter::One(Some(only).into_iter()),
            Set::Many(elements) => Iter::Many(elements.iter()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_set_whatever_its_size() {
        let mut set = None;
        let mut expected = BTreeSet::new();
        for (element, add) in
            [(3, true), (3, true), (1, true), (2, true), (7, false), (3, false), (1, false), (2, false), (2, false)]
        {
            let (changed, same) = match add {
                true => (Set::insert(&mut set, element), expected.insert(element)),
                false => (Set::remove(&mut set, &element), expected.remove(&element)),
            };
            assert_eq!(changed, same, "{element} {add}");
            assert_eq!(
                set.iter().flatten().copied().collect::<Vec<i32>>(),
                expected.iter().copied().collect::<Vec<_>>()
            );
            assert_eq!(set.as_ref().map_or(0, Set::len), expected.len());
            assert_eq!(set.as_ref().and_then(Set::first), expected.first());
            assert_eq!(matches!(set, Some(Set::One(_))), expected.len() == 1);
        }
    }
}
