use std::io::Write;

use engram_node::{ConfigError, ConfigSources, NodeConfig, RawConfig};

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn sources(text: &str, env: &[(&str, &str)]) -> (tempfile::NamedTempFile, ConfigSources) {
    let file = file(text);
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let sources = ConfigSources { file: Some(file.path().to_owned()), env, flags: Vec::new() };
    (file, sources)
}

fn refused(sources: &ConfigSources) -> String {
    NodeConfig::load(sources).unwrap_err().to_string()
}

#[test]
fn flags_beat_the_environment_which_beats_the_file() {
    let text = "data_dir = 'a'\n[index]\nm = 8\nef_construction = 50\ndefault_recall = 0.6\n";
    let env =
        [("ENGRAM__INDEX__EF_CONSTRUCTION", "51"), ("ENGRAM__INDEX__DEFAULT_RECALL", "0.61"), ("HOME", "/")];
    let (_file, sources) = sources(text, &env);
    let config = NodeConfig::load(&sources.flag("index.default_recall", 0.62)).unwrap();
    assert_eq!((config.index.m, config.index.ef_construction, config.index.default_recall), (8, 51, 0.62));
    assert_eq!(config.index.graph_threshold, 20_000);
    assert_eq!(config.data_dir, std::path::Path::new("a"));
}

#[test]
fn unknown_keys_are_named_with_those_there_are() {
    let (_file, in_file) = sources("[index]\nmm = 8\n", &[]);
    let why = refused(&in_file);
    assert!(why.contains("mm") && why.contains("ef_construction") && why.contains("line 2"), "{why}");
    let (_file, in_env) = sources("", &[("ENGRAM__INDEX__MM", "8")]);
    let why = refused(&in_env);
    assert!(why.contains("ENGRAM__INDEX__MM") && why.contains("ef_construction"), "{why}");
    let why = refused(&ConfigSources::default().flag("nothing", 1));
    assert!(why.contains("nothing") && why.contains("data_dir"), "{why}");
}

#[test]
fn bad_values_are_named_with_what_to_write() {
    for (key, value, hint) in [
        ("listen.grpc", "here", "127.0.0.1:6334"),
        ("index.m", "x", "whole number"),
        ("index.m", "1", "2 to 128"),
        ("index.default_recall", "much", "0.9"),
        ("index.default_recall", "0", "above 0 and at most 1"),
        ("index.default_recall", "NaN", "above 0 and at most 1"),
        ("index.default_recall", "1.01", "above 0 and at most 1"),
        ("index.default_ef", "100", "default_recall"),
        ("insecure", "maybe", "true nor false"),
        ("log.kind", "kafka", "file"),
        ("logging.format", "xml", "json"),
        ("limits.message_bytes", "1", "65536"),
        ("tls.cert", "/nowhere.pem", "tls.key"),
        ("auth.root_key_file", "/nowhere", "cannot be read"),
        ("auth.metrics_key_file", "/nowhere", "cannot be read"),
        ("limits.connections_per_address", "1025", "1 to 1024"),
        ("index", "1", "section"),
    ] {
        let why = refused(&ConfigSources::default().flag(key, value));
        assert!(why.contains(hint), "{key}={value}: {why}");
    }
}

#[test]
fn an_open_server_needs_tls_and_a_key_or_a_word() {
    let open = ConfigSources::default().flag("listen.grpc", "0.0.0.0:6334");
    let why = refused(&open);
    for part in ["listen.grpc", "127.0.0.1", "tls.cert", "root_key_file", "--insecure"] {
        assert!(why.contains(part), "{part}: {why}");
    }
    assert!(NodeConfig::load(&open.clone().flag("insecure", true)).is_ok());
    assert!(refused(&ConfigSources::default().flag("listen.http", "[::]:6333")).contains("listen.http"));

    let (cert, key) = (file("c"), file("k"));
    let tls = open.flag("tls.cert", cert.path().display()).flag("tls.key", key.path().display());
    assert!(refused(&tls).contains("a root key is not"));
    let mut both = tls;
    both.env.push(("ENGRAM__AUTH__ROOT_KEY".into(), "0123456789abcdef".into()));
    assert!(NodeConfig::load(&both).is_ok());
}

#[test]
fn the_root_key_stands_in_no_file_and_is_never_shown() {
    let (_file, in_file) = sources("[auth]\nroot_key = '0123456789abcdef'\n", &[]);
    assert!(refused(&in_file).contains("ENGRAM__AUTH__ROOT_KEY"));
    assert!(
        refused(&ConfigSources::default().flag("auth.root_key", "0123456789abcdef"))
            .contains("root_key_file")
    );
    let (_file, in_env) = sources("", &[("ENGRAM__AUTH__ROOT_KEY", "0123456789abcdef")]);
    let raw = RawConfig::load(&in_env).unwrap();
    let config = NodeConfig::from_raw(&raw).unwrap();
    let shown = format!("{raw:?} {config:?} {}", raw.to_toml().unwrap());
    assert!(!shown.contains("0123456789abcdef"), "{shown}");
    let (_file, short) = sources("", &[("ENGRAM__AUTH__ROOT_KEY", "short")]);
    assert!(refused(&short).contains("16 or more"));
}

#[test]
fn what_is_printed_can_be_read_back() {
    let raw = RawConfig::default();
    let printed = raw.to_toml().unwrap();
    let (_file, sources) = sources(&printed, &[]);
    assert_eq!(RawConfig::load(&sources).unwrap(), raw);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let sources = ConfigSources { file: Some("/nowhere.toml".into()), ..ConfigSources::default() };
    assert!(matches!(RawConfig::load(&sources), Err(ConfigError::File { .. })));
}
