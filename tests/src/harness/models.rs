//! Model repositories for tests: scripted models in a temporary folder, one per cost that a test needs.

use std::path::Path;

/// Writes a scripted model whose expected duration is `base_ms` plus the milliseconds that its script delays.
///
/// # Panics
/// When the folder cannot be written.
pub fn write_scripted(models: &Path, name: &str, version: &str, base_ms: f64) {
    let folder = models.join(name).join(version);
    std::fs::create_dir_all(&folder).expect("the test's folder can be written");
    let manifest = format!(
        "name = \"{name}\"\nversion = \"{version}\"\ndescription = \"For tests.\"\nlicense = \"Apache-2.0 OR MIT\"\nsource = \"tests\"\nrunner = \"scripted\"\n\n[cost]\nbase_ms = {base_ms:.1}\nper_unit_ms = 1.0\n"
    );
    std::fs::write(folder.join("model.toml"), manifest).expect("the test's folder can be written");
}
