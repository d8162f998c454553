//! Tests of loading settings: layers, errors and secrets, over files and variables of their own.

use super::*;

fn variables(rows: &[(&str, &str)]) -> Sources {
    let variables = rows.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect();
    Sources { variables, ..Sources::default() }
}

fn load(sources: &Sources) -> Settings {
    Effective::load(sources).unwrap_or_else(|error| panic!("{error}")).settings
}

fn refused(sources: &Sources) -> Vec<String> {
    let Error(wrong) = Effective::load(sources).err().expect("they are wrong");
    wrong.iter().map(ToString::to_string).collect()
}

/// A file with this text, in a folder of its own.
fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("siding.toml");
    std::fs::write(&path, text).expect("written");
    (folder, path)
}

#[test]
fn the_compiled_in_defaults_are_complete_and_valid() {
    assert_eq!(load(&Sources::default()), Settings::default());
}

#[test]
fn a_variable_with_a_section_is_a_setting_and_every_other_is_not() {
    assert_eq!(load(&variables(&[("SIDING_WORKER__SLOTS", "4")])).worker.slots, 4);
    for other in ["SIDING_CACHE", "SIDING_SERVER", "OTHER__SLOTS"] {
        assert_eq!(load(&variables(&[(other, "anything")])), Settings::default(), "{other}");
    }
}

#[test]
fn each_layer_overrides_single_keys_of_the_ones_before() {
    let (_folder, path) = file("[worker]\nslots = 3\ndrain_ms = 3\n\n[broker]\nregion = \"file\"\n");
    let mut sources = variables(&[("SIDING_WORKER__DRAIN_MS", "4"), ("SIDING_BROKER__REGION", "variable")]);
    sources.file = Some(path.clone());
    let sources = sources.flag("--listen", "server.listen", Some("127.0.0.1:0")).flag("--amqp", "broker.url", None::<String>);
    let effective = Effective::load(&sources).unwrap_or_else(|error| panic!("{error}"));
    let origin = |key: &str| effective.shown.iter().find(|shown| shown.key == key).map(|shown| shown.origin.clone());
    let rows = [
        ("worker.slots", format!("{}:2", path.display())),
        ("worker.drain_ms", "SIDING_WORKER__DRAIN_MS".to_owned()),
        ("broker.region", "SIDING_BROKER__REGION".to_owned()),
        ("server.listen", "--listen".to_owned()),
        ("store.url", "default".to_owned()),
        ("lanes.short.prefetch", "default".to_owned()),
    ];
    for (key, expected) in rows {
        assert_eq!(origin(key).as_deref(), Some(expected.as_str()), "{key}");
    }
    let settings = effective.settings;
    assert_eq!((settings.worker.slots, settings.worker.drain_ms, settings.broker.region.as_str()), (3, 4, "variable"));
    assert_eq!(settings.server.listen.port(), 0);
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_its_key_and_place_and_never_its_value() {
    let (_folder, path) = file(
        "[worker]\nslots = -1\nslotz = 4\n\n[store]\nurl = \"mysql://u:geheim@h\"\nreaders = 0\ndurability = \"geheim\"\n\n\
         [broker]\nheartbeat_secs = 70000\nregion = \"a b\"\n",
    );
    let mut sources = variables(&[
        ("SIDING_WORKER__SCRIPTED", "geheim"),
        ("SIDING_DISPATCH__RELAY_POLL_MS", "0"),
        ("SIDING_LANES__SHORT", "geheim"),
        ("SIDING_SERVER__LISTEN", "0.0.0.0:80"),
    ]);
    sources.file = Some(path.clone());
    let refused = refused(&sources);
    let at = |line: usize| format!("({}:{line})", path.display());
    let rows = [
        (format!("worker.slots {}", at(2)), "unsigned"),
        (format!("worker.slotz {}", at(3)), "did you mean worker.slots?"),
        (format!("store.url {}", at(6)), "must begin with postgres://"),
        (format!("store.readers {}", at(7)), "above 0"),
        (format!("store.durability {}", at(8)), "must be process or power"),
        (format!("broker.heartbeat_secs {}", at(11)), "16 bit"),
        (format!("broker.region {}", at(12)), "letters"),
        ("worker.scripted (SIDING_WORKER__SCRIPTED)".to_owned(), "true or false"),
        ("dispatch.relay_poll_ms (SIDING_DISPATCH__RELAY_POLL_MS)".to_owned(), "above 0"),
        ("lanes.short (SIDING_LANES__SHORT)".to_owned(), "[[lanes]]"),
        ("server.listen (SIDING_SERVER__LISTEN)".to_owned(), "allow_network"),
    ];
    for (start, part) in &rows {
        assert!(refused.iter().any(|wrong| wrong.starts_with(start) && wrong.contains(part)), "{start} … {part}: {refused:#?}");
    }
    assert_eq!(refused.len(), rows.len(), "{refused:#?}");
}

#[test]
fn wrong_lanes_are_told_each() {
    let lane = |rest: &str| {
        format!("[[lanes]]\nname = \"a\"\nack = \"on_record\"\nlease_secs = 1\nprefetch = 1\nslot_share_max = 1.0\n{rest}\n")
    };
    let text = [lane("run_timeout_ms = 1\nprefetchh = 2"), lane("run_timeout_ms = \"x\""), lane("")].join("\n");
    let (_folder, path) = file(&text);
    let refused = refused(&Sources { file: Some(path), ..Sources::default() });
    for (start, part) in [("lanes[0].prefetchh", "prefetch?"), ("lanes[1].run_timeout_ms", "integer"), ("lanes[2]", "missing")] {
        assert!(refused.iter().any(|wrong| wrong.starts_with(start) && wrong.contains(part)), "{start}: {refused:#?}");
    }
}

#[test]
fn a_file_that_is_missing_or_no_toml_is_told_with_its_place() {
    let missing = Sources { file: Some("nowhere.toml".into()), ..Sources::default() };
    assert!(refused(&missing)[0].starts_with("nowhere.toml: cannot be read"), "{:?}", refused(&missing));
    let (_folder, path) = file("[worker]\nslots = \n");
    let refused = refused(&Sources { file: Some(path.clone()), ..Sources::default() });
    assert!(refused[0].starts_with(&format!("{}:2: ", path.display())), "{refused:?}");
}

#[test]
fn a_secret_comes_from_a_file_of_its_own_and_is_shown_by_nothing() {
    let (folder, _) = file("");
    let secret = folder.path().join("url");
    std::fs::write(&secret, "postgres://u:geheim@db/jobs\n").expect("written");
    let in_file = folder.path().join("with_secret.toml");
    std::fs::write(&in_file, format!("[store]\nurl_file = \"{}\"\n", secret.display())).expect("written");
    let secret = secret.to_str().expect("UTF-8");
    let by_file = Sources { file: Some(in_file), ..Sources::default() };
    for sources in [variables(&[("SIDING_STORE__URL_FILE", secret)]), by_file] {
        let effective = Effective::load(&sources).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(effective.settings.store.url.expose(), "postgres://u:geheim@db/jobs");
        let told = format!("{:?} {:?}", effective.settings, effective.shown);
        assert!(told.contains("postgres://u:***@db/jobs") && !told.contains("geheim"), "{told}");
    }
    let rows = [
        (vec![("SIDING_STORE__URL_FILE", secret), ("SIDING_STORE__URL", "postgres://u:geheim@h")], "is also given by"),
        (vec![("SIDING_STORE__URL_FILE", "nowhere")], "cannot read nowhere"),
        (vec![("SIDING_WORKER__SLOTS_FILE", secret)], "whole number"),
    ];
    for (rows, expected) in rows {
        let refused = refused(&variables(&rows));
        assert!(refused.len() == 1 && refused[0].contains(expected) && !refused[0].contains("geheim"), "{rows:?}: {refused:?}");
    }
}

#[test]
fn every_default_is_shown_in_the_order_of_its_file() {
    let effective = Effective::load(&Sources::default()).unwrap_or_else(|error| panic!("{error}"));
    let keys: Vec<&str> = effective.shown.iter().map(|shown| shown.key.as_str()).collect();
    assert_eq!(&keys[..4], ["server.listen", "server.allow_network", "server.unready_ms", "submit.unpublished_max"]);
    assert!(keys.contains(&"lanes.long.lease_secs") && keys.iter().all(|key| !key.ends_with(".name")), "{keys:?}");
}

#[test]
fn a_model_process_is_told_what_its_worker_was_told_of_providers() {
    let rows = [
        ("SIDING_WORKER__PROVIDERS", "tensorrt, cuda"),
        ("SIDING_WORKER__PROVIDERS_REQUIRED", "true"),
        ("SIDING_WORKER__INTRA_THREADS", "3"),
        ("SIDING_CUDA__DEVICE_ID", "2"),
        ("SIDING_CUDA__MEMORY_BYTES_MAX", "7"),
        ("SIDING_CUDA__ARENA", "doubling"),
        ("SIDING_CUDA__CONV_SEARCH", "exhaustive"),
        ("SIDING_CUDA__TF32", "true"),
        ("SIDING_CUDA__LIBRARIES", "/libraries"),
        ("SIDING_TENSORRT__FP16", "true"),
        ("SIDING_TENSORRT__WORKSPACE_BYTES_MAX", "8"),
        ("SIDING_TENSORRT__ENGINE_CACHE", "/cache"),
    ];
    let worker = load(&variables(&rows));
    assert_eq!(worker.worker.providers.0, ["tensorrt", "cuda"]);
    let told = worker.of_providers();
    let told: Vec<_> = told.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(told.len(), rows.len());
    assert_eq!(load(&variables(&told)), worker);
    let wrong = refused(&variables(&[
        ("SIDING_WORKER__PROVIDERS", "cuda,gpu"),
        ("SIDING_CUDA__ARENA", "large"),
        ("SIDING_WORKER__ISOLATION", "yes"),
    ]));
    assert_eq!(wrong.len(), 3, "{wrong:?}");
}
