//! Rows for the repository: a folder with every kind of bad version beside good ones. Only temporary folders are written.

use std::{fs, os::unix::fs::symlink, path::Path};

use super::*;

fn manifest(name: &str, version: &str) -> String {
    format!(
        "name = \"{name}\"\nversion = \"{version}\"\ndescription = \"\"\nlicense = \"\"\nsource = \"\"\nrunner = \"scripted\"\n\
         cost = {{ base_ms = 1 }}\n"
    )
}

fn tensor(name: &str, version: &str, file: &str) -> String {
    let tensor = "\nname = \"x\"\ndatatype = \"FP32\"\nshape = []\n";
    let digest = "0".repeat(64);
    manifest(name, version).replace("scripted", "tensor")
        + &format!("[file]\npath = \"{file}\"\nsha256 = \"{digest}\"\n[[inputs]]{tensor}[[outputs]]{tensor}")
}

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("has a parent")).expect("folder");
    fs::write(path, text).expect("file");
}

/// Temporary folders below cargo's own, one for each test.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("siding-{name}-{}-{}", std::process::id(), uuid::Uuid::now_v7()));
        fs::create_dir_all(&path).expect("folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("was created here");
    }
}

#[test]
fn versions_count_as_a_person_counts() {
    let mut versions = ["10", "2", "1.10", "1.9", "1", "v2", "v10", "01", "1-rc1", "99999999999999999999999"];
    versions.sort_by(|a, b| natural_order(a, b));
    assert_eq!(versions, ["01", "1", "1-rc1", "1.9", "1.10", "2", "10", "99999999999999999999999", "v2", "v10"]);
}

#[test]
fn good_models_are_served_and_bad_ones_named_with_the_reason() {
    let folder = Folder::new("repository");
    let root = folder.0.join("models");
    for version in ["9", "10"] {
        put(&root, &format!("good/{version}/model.toml"), &manifest("good", version));
    }
    put(&root, "tensor/1/model.toml", &tensor("tensor", "1", "model.onnx"));
    put(&root, "tensor/1/model.onnx", "not checked here");
    put(&root, "bad/1/model.toml", "name = 7");
    put(&root, "bad/2/model.toml", &manifest("good", "2"));
    put(&root, "bad/3/model.toml", &manifest("bad", "4"));
    put(&root, "bad/4/model.toml", &tensor("bad", "4", "gone.onnx"));
    put(&root, "bad/5/model.toml", &"#".repeat(300_000));
    put(&root, "bad/-x/model.toml", &manifest("bad", "x"));
    put(&root, "README.md", "passed over");
    put(&root, "tools/src/main.py", "passed over");
    put(&root, ".git/1/model.toml", "passed over");
    put(&folder.0, "outside/model.toml", &manifest("bad", "6"));
    put(&folder.0, "outside/model.onnx", "");
    symlink(folder.0.join("outside"), root.join("bad/6")).expect("link");
    put(&root, "bad/7/model.toml", &tensor("bad", "7", "model.onnx"));
    symlink(folder.0.join("outside/model.onnx"), root.join("bad/7/model.onnx")).expect("link");
    put(&root, "bad/8/other", "");
    symlink(folder.0.join("outside/model.toml"), root.join("bad/8/model.toml")).expect("link");

    let repository = Repository::open(&root, true).expect("readable");
    let served: Vec<_> = repository.models().iter().map(|m| format!("{}/{}", m.manifest.name, m.manifest.version)).collect();
    assert_eq!(served, ["good/10", "good/9", "tensor/1"]);
    let expected = [
        ("bad/-x", "the folder's name: model version"),
        ("bad/1", "bad/1/model.toml: line 1, column 8: `name = 7`"),
        ("bad/2", "name: must be the folder's name bad, not good"),
        ("bad/3", "version: must be the folder's name 3, not 4"),
        ("bad/4", "file: gone.onnx: is missing"),
        ("bad/5", "has 300000 bytes"),
        ("bad/6", "leads out of its folder"),
        ("bad/7", "file: model.onnx: leads out of its folder"),
        ("bad/8", "bad/8/model.toml: leads out of its folder"),
    ];
    let broken: Vec<_> = repository.broken().iter().map(|broken| broken.folder.as_str()).collect();
    assert_eq!(broken, expected.map(|(folder, _)| folder));
    for (broken, (_, part)) in repository.broken().iter().zip(expected) {
        assert!(broken.why.contains(part), "{broken:?}");
        assert!(!broken.why.contains(&*folder.0.to_string_lossy()), "shown to callers: {broken:?}");
    }

    let resolve = |name: &str, version: Option<&str>| {
        let version = version.map(|version| version.parse().expect("valid"));
        repository.resolve(&name.parse().expect("valid"), version.as_ref()).map(|model| model.manifest.version.to_string())
    };
    assert_eq!(resolve("good", None), Ok("10".into()));
    assert_eq!(resolve("good", Some("9")), Ok("9".into()));
    assert_eq!(resolve("good", Some("8")), Err(Unresolved::UnknownVersion { known: "10, 9".into() }));
    assert_eq!(resolve("nobody", None), Err(Unresolved::UnknownModel { known: "good, tensor".into() }));
    assert!(matches!(resolve("bad", None), Err(Unresolved::Broken { .. })));
    assert!(matches!(resolve("bad", Some("3")), Err(Unresolved::Broken { why }) if why.contains("bad/3")));
}

#[test]
fn scripted_models_are_served_only_where_they_are_allowed() {
    let folder = Folder::new("scripted");
    put(&folder.0, "s/1/model.toml", &manifest("s", "1"));
    for (allow, served) in [(true, 1), (false, 0)] {
        let repository = Repository::open(&folder.0, allow).expect("readable");
        assert_eq!((repository.models().len(), repository.broken().len()), (served, 1 - served));
    }
    assert!(matches!(Repository::open(&folder.0.join("gone"), true), Err(Error::Unreadable { .. })));
}
