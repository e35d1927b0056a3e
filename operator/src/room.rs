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

/// Free memory that the allocator keeps at the end of each of its heaps; there is one for each busy thread.
#[cfg(target_env = "gnu")]
const KEPT_BYTES: nix::libc::c_int = 2 << 20;
/// Larger blocks come from the system one by one. The encoded tables that each edit makes anew are not to be among them.
#[cfg(target_env = "gnu")]
const BLOCK_BYTES: nix::libc::c_int = 32 << 20;

/// Has the allocator keep little free memory; to be called before there are threads. glibc raises both limits by itself as
/// large blocks are freed, up to these 32 MiB a block and 64 MiB for each heap, which nothing makes it give back later:
/// [`give_back_pages`] does not reach the ends of heaps that threads have.
#[cfg(target_env = "gnu")]
pub fn keep_little() {
    use nix::libc;
    #[expect(unsafe_code, reason = "mallopt(3) takes two numbers")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, BLOCK_BYTES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES);
    }
}

/// Has the allocator give free pages back to the system that lie between others in use. Takes some milliseconds, and holds
/// up whoever allocates.
#[cfg(target_env = "gnu")]
pub fn give_back_pages() {
    #[expect(unsafe_code, reason = "malloc_trim(3) asks for nothing and may be called from every thread")]
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

/// Other allocators do it by themselves.
#[cfg(not(target_env = "gnu"))]
pub fn keep_little() {}

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
