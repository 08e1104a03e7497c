//! Tries a reader of bytes from outside on changed examples: whatever they are, it must return.
//! `fuzz/run` tries more of them, other ones each time.

#[path = "../crates/rootpin-policy/tests/fuzz/mutate.rs"]
#[allow(unreachable_pub, reason = "another test shares it")]
mod mutate;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::{env, fs};

use rootpin_trust::image::Digest;

/// Inputs for each reader.
const INPUTS: u64 = 300;

/// Tries a reader. What makes it panic is written to target/fuzz.
pub(crate) fn try_reader(name: &str, examples: &[&[u8]], read: impl Fn(&[u8])) {
    let said = |name: &str| env::var(name).ok();
    if said("ROOTPIN_FUZZ_TARGET").is_some_and(|only| only != name) {
        return;
    }
    if let Some(path) = said("ROOTPIN_FUZZ_INPUT") {
        return read(&fs::read(path).unwrap());
    }
    examples.iter().for_each(|example| read(example));
    let inputs = said("ROOTPIN_FUZZ").map_or(INPUTS, |text| text.parse().unwrap());
    let first = said("ROOTPIN_FUZZ_SEED").map_or(0, |text| text.parse().unwrap());
    for seed in first..first + inputs {
        let input = mutate::Random(seed).input(examples);
        if catch_unwind(AssertUnwindSafe(|| read(&input))).is_err() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/fuzz");
            fs::create_dir_all(&folder).unwrap();
            let path = folder.join(format!("{name}-{}", &Digest::of(&input).hex()[..16]));
            fs::write(&path, &input).unwrap();
            let path = path.display();
            panic!("{name}, seed {seed}: ROOTPIN_FUZZ_TARGET={name} ROOTPIN_FUZZ_INPUT={path}");
        }
    }
}
