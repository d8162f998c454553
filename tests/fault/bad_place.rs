//! Places that cannot be used: folders in use or read-only, taken ports, addresses that others could reach.

use siding::{
    process::{self, Process, Shape},
    seams,
};
use siding_core::config::Settings;

fn options(data: &std::path::Path, listen: &str) -> process::Options {
    let models = data.join("models");
    std::fs::create_dir_all(&models).expect("a temporary folder");
    let mut settings = Settings::default();
    settings.server.listen = listen.parse().expect("an address");
    settings.models.folder = models.to_str().expect("UTF-8").to_owned();
    process::Options { shape: Shape::Up { data: data.to_path_buf() }, settings, wrap: |seams| seams }
}

async fn refusal(options: process::Options) -> process::Error {
    match Process::start(options).await {
        Ok(up) => panic!("it started at {}", up.url()),
        Err(error) => error,
    }
}

#[tokio::test]
async fn an_address_that_others_could_reach_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80"] {
        let error = refusal(options(folder.path(), listen)).await;
        assert!(matches!(error, process::Error::NotLoopback(_)), "{listen}: {error}");
    }
}

#[tokio::test]
async fn a_taken_port_is_named_with_the_way_out() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("a bound port").to_string();
    let error = refusal(options(folder.path(), &address)).await;
    assert!(error.to_string().contains(&address) && error.to_string().contains("--listen"), "{error}");
}

#[tokio::test]
async fn a_data_folder_belongs_to_one_process() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let held = seams::hold(folder.path()).expect("it is free");
    let error = refusal(options(folder.path(), "127.0.0.1:0")).await;
    assert!(matches!(error, process::Error::Seams(seams::Error::InUse(_))), "{error}");
    drop(held);
    let up = Process::start(options(folder.path(), "127.0.0.1:0")).await.expect("it is free again");
    up.stop().await.expect("it stops");
}

#[tokio::test]
async fn a_data_folder_that_is_a_file_or_holds_no_database_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "x").expect("a file");
    let mut at_file = options(folder.path(), "127.0.0.1:0");
    at_file.shape = Shape::Up { data: file };
    assert!(matches!(refusal(at_file).await, process::Error::Seams(seams::Error::Folder(..))));

    let data = folder.path().join("data");
    std::fs::create_dir_all(&data).expect("a folder");
    std::fs::write(data.join("siding.sqlite"), vec![b'x'; 8192]).expect("a file");
    let error = refusal(options(&data, "127.0.0.1:0")).await;
    assert!(matches!(error, process::Error::Seams(seams::Error::Store(..))), "{error}");
}

#[tokio::test]
async fn a_missing_model_repository_names_the_command_that_makes_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut nowhere = options(folder.path(), "127.0.0.1:0");
    nowhere.settings.models.folder = folder.path().join("nowhere").to_str().expect("UTF-8").to_owned();
    let error = refusal(nowhere).await;
    assert!(error.to_string().contains("make setup"), "{error}");
}
