//! Model files that are not what they should be: missing, changed, truncated, corrupt, or reaching out of their folder. Loading ends
//! in an error that names the file, or in a model that runs; never in a crash.

use std::fs;

use rand::{Rng, SeedableRng, rngs::StdRng};
use siding_core::model::{locate, repository::Repository};
use siding_worker::runtime::{ModelRuntime, Runtimes};

use super::{Variant, committed, interface::onnx, run, runtimes, sha256};

/// `spin` with other bytes, and a manifest that calls them right.
fn spin(bytes: &[u8]) -> Variant {
    let manifest = fs::read_to_string(committed().join("spin/1/model.toml")).expect("committed");
    let digest = sha256(&fs::read(committed().join("spin/1/model.onnx")).expect("committed"));
    Variant::new("spin", &manifest.replace(&digest, &sha256(bytes)), &[("model.onnx", bytes)])
}

/// Why `variant` cannot be loaded.
fn refused(runtimes: &Runtimes, variant: &Variant) -> String {
    runtimes.load(&variant.model()).err().map(|error| error.to_string()).expect("must not load")
}

#[test]
fn a_file_that_changed_or_went_is_refused_before_the_runtime_sees_it() {
    let runtimes = runtimes();
    let good = fs::read(committed().join("spin/1/model.onnx")).expect("committed");
    let variant = spin(&good);
    runtimes.load(&variant.model()).map(drop).expect("as committed");
    let found_before = variant.model();
    let mut changed = good.clone();
    changed[1000] ^= 1;
    fs::write(variant.path("model.onnx"), &changed).expect("writes");
    assert!(refused(&runtimes, &variant).contains("model.onnx has the SHA-256"));
    fs::remove_file(variant.path("model.onnx")).expect("removes");
    let gone = runtimes.load(&found_before).err().expect("gone").to_string();
    assert!(gone.contains("model spin version 1") && gone.contains("model.onnx is missing"), "{gone}");
    std::os::unix::fs::symlink(committed().join("spin/1/model.onnx"), variant.path("model.onnx")).expect("links");
    let outside = runtimes.load(&found_before).err().expect("outside").to_string();
    assert!(outside.contains("leads out of its folder"), "{outside}");
}

#[test]
fn a_truncated_or_corrupt_file_is_an_error_and_not_a_crash() {
    let runtimes = runtimes();
    let good = fs::read(committed().join("spin/1/model.onnx")).expect("committed");
    for length in [0, 1, 10, good.len() / 2, good.len() - 1] {
        let why = refused(&runtimes, &spin(&good[..length]));
        assert!(why.contains("model spin version 1 cannot be loaded"), "{length}: {why}");
    }
    for bytes in [b"not a model".as_slice(), &[0xff; 100]] {
        refused(&runtimes, &spin(bytes));
    }
}

/// Real models, cut off and with single bits changed: 200 files, each of which loads and runs or is refused with the model's name.
#[test]
fn two_hundred_damaged_files_are_refused_or_run_and_end_nothing() {
    let runtimes = runtimes();
    let fetched = locate::models_dir(&locate::cache_dir().expect("HOME is set"));
    let seed = 7;
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    for (name, folder, described, files) in [("spin", committed(), 300, 100), ("magika", fetched, 20_000, 100)] {
        let version = folder.join(name).join("1");
        let manifest = fs::read_to_string(committed().join(name).join("1/model.toml")).expect("committed");
        let good = fs::read(version.join("model.onnx")).expect("run `make setup`");
        let example = siding_core::model::manifest::Manifest::parse(&manifest).expect("valid").example.expect("has an example");
        let (mut ran, mut refused) = (0, 0);
        for file in 0..files {
            let mut bytes = good.clone();
            if file % 4 == 0 {
                bytes.truncate(rng.random_range(0..bytes.len()));
            } else {
                // Half of the bits are where the graph is described: most of a file is weights, in which any bit is valid.
                let end = if file % 2 == 0 { described } else { bytes.len() };
                bytes[rng.random_range(0..end)] ^= 1 << rng.random_range(0..8);
            }
            let manifest = manifest.replace(&sha256(&good), &sha256(&bytes));
            match runtimes.load(&Variant::new(name, &manifest, &[("model.onnx", &bytes)]).model()) {
                Ok(mut loaded) => {
                    ran += 1;
                    // What it computes is nobody's promise; that it comes back is.
                    drop(run(&mut *loaded, &example));
                }
                Err(error) => {
                    let said = error.to_string();
                    assert!(said.contains(&format!("model {name} version 1 cannot be loaded")), "{said}");
                    refused += 1;
                }
            }
        }
        assert!(ran > 0 && refused > files / 4, "{name}: {ran} ran, {refused} refused: the damage must reach both");
    }
}

/// y = x + w with the two numbers w in external data.
fn with_external(location: &str, offset: &str, manifest_lists: &str, files: &[(&str, &[u8])]) -> Variant {
    let external = [onnx::entry("location", location), onnx::entry("offset", offset), onnx::entry("length", "8")].concat();
    let model = onnx::add(&[("x", "n")], Some(&external));
    let manifest = onnx::manifest(&model, manifest_lists, &[("x", "\"n\"")], "\"n\"");
    let files = [&[("model.onnx", model.as_slice())], files].concat();
    Variant::new("add", &manifest, &files)
}

fn listed(name: &str, bytes: &[u8]) -> String {
    format!("[[file.external]]\npath = \"{name}\"\nsha256 = \"{}\"\n", sha256(bytes))
}

#[test]
fn external_data_is_taken_from_the_models_folder_and_nowhere_else() {
    let runtimes = runtimes();
    let weights: Vec<u8> = [9.0_f32, 1.0, 2.0].iter().flat_map(|number| number.to_le_bytes()).collect();
    let good = with_external("w.bin", "4", &listed("w.bin", &weights), &[("w.bin", &weights)]);
    let mut loaded = runtimes.load(&good.model()).unwrap_or_else(|error| panic!("{error}: {error:?}"));
    let output = run(&mut *loaded, r#"{"x":{"shape":[2],"data":[10,20]}}"#);
    assert_eq!(output.as_deref(), Ok(r#"{"y":{"datatype":"FP32","shape":[2],"data":[11.0,22.0]}}"#));

    let rows = [
        ("../w.bin", "4", String::new(), "refers to external data \"../w.bin\", which is not a [[file.external]]"),
        ("/etc/passwd", "4", String::new(), "refers to external data \"/etc/passwd\""),
        ("w.bin", "4", String::new(), "refers to external data \"w.bin\""),
        ("other.bin", "4", listed("w.bin", &weights), "refers to external data \"other.bin\""),
        ("w.bin", "8", listed("w.bin", &weights), "beyond the end of \"w.bin\""),
        ("w.bin", "18446744073709551615", listed("w.bin", &weights), "beyond the end of \"w.bin\""),
        ("w.bin", "x", listed("w.bin", &weights), "an offset of external data is no number"),
        ("w.bin", "4", listed("w.bin", b"other bytes"), "w.bin has the SHA-256"),
    ];
    for (location, offset, lists, part) in rows {
        let variant = with_external(location, offset, &lists, &[("w.bin", &weights)]);
        let why = refused(&runtimes, &variant);
        assert!(why.contains(part), "{location} {offset}: {why}");
    }

    let missing = with_external("w.bin", "4", &listed("w.bin", &weights), &[]);
    let repository = Repository::open(missing.folder.path(), false).expect("readable");
    assert!(
        repository.models().is_empty() && repository.broken()[0].why.contains("w.bin: is missing"),
        "{:?}",
        repository.broken()
    );
}
