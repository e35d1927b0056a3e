//! Sets of characters. RE2 runs in Envoy on Latin-1, so a character is one byte; what lies beyond is cut off.

use regex_syntax::hir::{Class, HirKind};

/// The highest character.
pub(super) const MAX: u32 = 0xff;

/// Characters as sorted ranges that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CharSet(Vec<(u32, u32)>);

impl CharSet {
    /// Every character.
    pub(super) fn all() -> Self {
        Self(vec![(0, MAX)])
    }

    /// The ranges, ascending.
    pub(super) fn ranges(&self) -> &[(u32, u32)] {
        &self.0
    }

    /// Adds a range; with `fold` also what differs from it in case only.
    pub(super) fn add(&mut self, low: u32, high: u32, fold: bool) {
        self.0.push((low, high));
        if fold {
            self.0.extend(folded(low, high));
        }
        self.normalize();
    }

    /// Adds all members of another set.
    pub(super) fn add_set(&mut self, other: &CharSet, fold: bool) {
        for (low, high) in &other.0 {
            self.0.push((*low, *high));
            if fold {
                self.0.extend(folded(*low, *high));
            }
        }
        self.normalize();
    }

    /// Everything that is not a member.
    pub(super) fn negated(&self) -> Self {
        let mut rest = Vec::with_capacity(self.0.len() + 1);
        let mut next = 0;
        for (low, high) in &self.0 {
            if next < *low {
                rest.push((next, low - 1));
            }
            next = high + 1;
        }
        if next <= MAX {
            rest.push((next, MAX));
        }
        Self(rest)
    }

    /// How many members there are.
    pub(super) fn count(&self) -> u32 {
        self.0.iter().map(|(low, high)| high - low + 1).sum()
    }

    /// Whether it is a member.
    pub(super) fn contains(&self, character: u32) -> bool {
        self.0.iter().any(|(low, high)| (*low..=*high).contains(&character))
    }

    /// Whether A to Z are members just as a to z are; RE2 then tests both with one instruction.
    pub(super) fn folds_ascii(&self) -> bool {
        ('A'..='Z').all(|upper| self.contains(u32::from(upper)) == self.contains(u32::from(upper.to_ascii_lowercase())))
    }

    /// Adds all members of another set without keeping order; [`Self::normalize`] has to follow.
    pub(super) fn extend(&mut self, other: &CharSet) {
        self.0.extend(&other.0);
    }

    /// Sorts and joins the ranges.
    pub(super) fn normalize(&mut self) {
        self.0.sort_unstable();
        self.0.dedup_by(|next, kept| {
            let joins = next.0 <= kept.1.saturating_add(1);
            if joins {
                kept.1 = kept.1.max(next.1);
            }
            joins
        });
    }
}

/// What differs from the range in case only. On Latin-1 RE2 folds nothing but ASCII.
fn folded(low: u32, high: u32) -> impl Iterator<Item = (u32, u32)> {
    let case = |first: char, other: char| {
        let (first, other) = (u32::from(first), u32::from(other));
        let (low, high) = (low.max(first), high.min(first + 25));
        (low <= high).then(|| (low - first + other, high - first + other))
    };
    case('A', 'a').into_iter().chain(case('a', 'A'))
}

/// `\d`, `\s`, `\w` by letter; they are about ASCII only.
pub(super) fn perl(letter: char) -> Option<CharSet> {
    let ranges: &[(char, char)] = match letter {
        'd' => &[('0', '9')],
        's' => &[('\t', '\n'), ('\x0c', '\r'), (' ', ' ')],
        'w' => &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')],
        _ => return None,
    };
    Some(of(ranges))
}

/// `[:alpha:]` and so on, by the word between the colons.
pub(super) fn posix(name: &str) -> Option<CharSet> {
    let ranges: &[(char, char)] = match name {
        "alnum" => &[('0', '9'), ('A', 'Z'), ('a', 'z')],
        "alpha" => &[('A', 'Z'), ('a', 'z')],
        "ascii" => &[('\0', '\x7f')],
        "blank" => &[('\t', '\t'), (' ', ' ')],
        "cntrl" => &[('\0', '\x1f'), ('\x7f', '\x7f')],
        "digit" => &[('0', '9')],
        "graph" => &[('!', '~')],
        "lower" => &[('a', 'z')],
        "print" => &[(' ', '~')],
        "punct" => &[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')],
        "space" => &[('\t', '\r'), (' ', ' ')],
        "upper" => &[('A', 'Z')],
        "word" => &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')],
        "xdigit" => &[('0', '9'), ('A', 'F'), ('a', 'f')],
        _ => return None,
    };
    Some(of(ranges))
}

/// `\p{name}`: a general category in its short form, a script, or `Any`. Unlike other engines RE2 knows no long names
/// of categories, no other properties, and minds the case. Most sets are empty below 256; RE2 takes them all the same.
pub(super) fn unicode(name: &str) -> Option<CharSet> {
    match name {
        "Any" => Some(CharSet::all()),
        // In RE2 the category of others leaves out what is not assigned; surrogates are out of reach here.
        "C" => {
            let mut set = unicode("Cc")?;
            set.add_set(&unicode("Cf")?, false);
            Some(set)
        }
        "Cs" => Some(CharSet::default()),
        _ if CATEGORIES.contains(&name) => table(&format!("\\p{{gc={name}}}")),
        _ if SCRIPTS.split_ascii_whitespace().any(|script| script == name) => table(&format!("\\p{{sc={name}}}")),
        _ => None,
    }
}

fn of(ranges: &[(char, char)]) -> CharSet {
    CharSet(ranges.iter().map(|(low, high)| (u32::from(*low), u32::from(*high))).collect())
}

/// The tables of regex-syntax, by way of an expression in its own syntax.
fn table(expression: &str) -> Option<CharSet> {
    let parsed = regex_syntax::Parser::new().parse(expression).ok()?;
    match parsed.kind() {
        HirKind::Class(Class::Unicode(class)) => {
            let ranges = class.iter().map(|range| (u32::from(range.start()), u32::from(range.end()).min(MAX)));
            Some(CharSet(ranges.filter(|(low, high)| low <= high).collect()))
        }
        // A class of one character, all of which are high up.
        HirKind::Literal(_) => Some(CharSet::default()),
        _ => None,
    }
}

/// General categories apart from those that need care.
const CATEGORIES: [&str; 34] = [
    "Cc", "Cf", "Co", "L", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N", "Nd", "Nl", "No", "P", "Pc", "Pd",
    "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm", "So", "Z", "Zl", "Zp", "Zs",
];

/// Scripts that RE2 knows.
const SCRIPTS: &str = "
    Adlam Ahom Anatolian_Hieroglyphs Arabic Armenian Avestan Balinese Bamum Bassa_Vah Batak Bengali Bhaiksuki
    Bopomofo Brahmi Braille Buginese Buhid Canadian_Aboriginal Carian Caucasian_Albanian Chakma Cham Cherokee
    Chorasmian Common Coptic Cuneiform Cypriot Cypro_Minoan Cyrillic Deseret Devanagari Dives_Akuru Dogra Duployan
    Egyptian_Hieroglyphs Elbasan Elymaic Ethiopic Georgian Glagolitic Gothic Grantha Greek Gujarati Gunjala_Gondi
    Gurmukhi Han Hangul Hanifi_Rohingya Hanunoo Hatran Hebrew Hiragana Imperial_Aramaic Inherited
    Inscriptional_Pahlavi Inscriptional_Parthian Javanese Kaithi Kannada Katakana Kawi Kayah_Li Kharoshthi
    Khitan_Small_Script Khmer Khojki Khudawadi Lao Latin Lepcha Limbu Linear_A Linear_B Lisu Lycian Lydian
    Mahajani Makasar Malayalam Mandaic Manichaean Marchen Masaram_Gondi Medefaidrin Meetei_Mayek Mende_Kikakui
    Meroitic_Cursive Meroitic_Hieroglyphs Miao Modi Mongolian Mro Multani Myanmar Nabataean Nag_Mundari
    Nandinagari New_Tai_Lue Newa Nko Nushu Nyiakeng_Puachue_Hmong Ogham Ol_Chiki Old_Hungarian Old_Italic
    Old_North_Arabian Old_Permic Old_Persian Old_Sogdian Old_South_Arabian Old_Turkic Old_Uyghur Oriya Osage
    Osmanya Pahawh_Hmong Palmyrene Pau_Cin_Hau Phags_Pa Phoenician Psalter_Pahlavi Rejang Runic Samaritan
    Saurashtra Sharada Shavian Siddham SignWriting Sinhala Sogdian Sora_Sompeng Soyombo Sundanese Syloti_Nagri
    Syriac Tagalog Tagbanwa Tai_Le Tai_Tham Tai_Viet Takri Tamil Tangsa Tangut Telugu Thaana Thai Tibetan Tifinagh
    Tirhuta Toto Ugaritic Vai Vithkuqi Wancho Warang_Citi Yezidi Yi Zanabazar_Square
";
