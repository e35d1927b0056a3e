//! Memory that is given back when there is less to remember.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};

/// Room for fewer entries than this is kept. Small, as there are maps of hundreds of small maps.
const LEAST: usize = 16;

/// Gives back most of a map's room once it holds less than an eighth of it; a map never does so by itself. Costs nothing
/// otherwise, so it may be called whenever an entry went.
pub fn shrink<K: Eq + Hash, V, S: BuildHasher>(map: &mut HashMap<K, V, S>) {
    if map.capacity() > LEAST && map.len() < map.capacity() / 8 {
        map.shrink_to(map.len() * 2);
    }
}

/// Has the allocator give free pages back to the system. glibc does that at the end of its heaps only, and one small thing
/// that stays there keeps a hundred megabytes in front of it. Takes some milliseconds, and holds up whoever allocates.
#[cfg(target_env = "gnu")]
pub fn give_back_pages() {
    #[expect(unsafe_code, reason = "malloc_trim(3) asks for nothing and may be called from every thread")]
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

/// Other allocators do it by themselves.
#[cfg(not(target_env = "gnu"))]
pub fn give_back_pages() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_gives_back_what_it_does_not_need() {
        let mut map: HashMap<usize, usize> = (0..100_000).map(|key| (key, key)).collect();
        let room = map.capacity();
        for key in 0..99_990 {
            map.remove(&key);
            shrink(&mut map);
        }
        assert!(map.capacity() <= 8 * LEAST && room > 100_000, "{} of {room}", map.capacity());
        assert_eq!(map.len(), 10);
        assert_eq!(map.get(&99_995), Some(&99_995));
    }
}
