//! The web pages are embedded when the crate is built, so a new build of them must build the crate anew.

fn main() {
    println!("cargo:rerun-if-changed=web/dist");
}
