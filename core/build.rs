//! Tells cargo that the migrations are compiled in: a new file there must rebuild this crate. It generates nothing.

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
}
