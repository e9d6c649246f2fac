//! Whatever the sizes and buffers, what arrives is what was there.

use std::fs;

use ingest_core::{digest, Mode, StageOptions};
use proptest::prelude::*;

use crate::places::Places;

proptest! {
    // Real files: enough cases to meet odd sizes, few enough to stay fast.
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_batch_arrives_whole(
        sizes in prop::collection::vec(0_usize..300_000, 1..8),
        roots in 1_usize..4,
        power in 12_u32..21,
        mode in prop::sample::select(vec![Mode::Read, Mode::Mmap, Mode::Direct]),
        seed in any::<u8>(),
    ) {
        let places = Places::new(roots);
        let names: Vec<String> = (0..sizes.len()).map(|index| format!("{}/{index}", index % 3)).collect();
        let contents: Vec<Vec<u8>> = sizes
            .iter()
            .map(|&size| (0..size).map(|at| u8::try_from(at % 249).unwrap().wrapping_mul(31) ^ seed).collect())
            .collect();
        let transfers: Vec<_> = names.iter().zip(&contents).map(|(name, bytes)| places.file(name, bytes)).collect();

        let staged = places.stage_all(&transfers, StageOptions { mode, buffer: 1 << power, ..StageOptions::default() });

        for (index, (staged, bytes)) in staged.iter().zip(&contents).enumerate() {
            prop_assert_eq!(staged.digest(), Some(digest::of(bytes)));
            for root in 0..roots {
                prop_assert!(staged.copies[root].outcome.is_ok());
                prop_assert!(&fs::read(places.staged(root, index)).unwrap() == bytes);
            }
        }
    }
}
