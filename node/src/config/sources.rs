//! Where values come from, and which beats which.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use super::raw::RawConfig;
use super::{ConfigError, Secret};

/// Prefix of the environment variables: `ENGRAM__SECTION__KEY`.
pub const ENV_PREFIX: &str = "ENGRAM__";

const ROOT_KEY: &str = "auth.root_key";

/// The sources of a configuration, weakest first: defaults, file, environment, flags.
#[derive(Clone, Debug, Default)]
pub struct ConfigSources {
    /// TOML file.
    pub file: Option<PathBuf>,
    /// Variables; those without the prefix are ignored.
    pub env: Vec<(String, String)>,
    /// Flags as (`section.key`, value).
    pub flags: Vec<(String, String)>,
}

impl ConfigSources {
    /// This file, if any, and the environment of the process.
    pub fn from_process(file: Option<PathBuf>) -> Self {
        // Variables that are not UTF-8 cannot be ours.
        let env = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with(ENV_PREFIX))
            .collect();
        Self { file, env, flags: Vec::new() }
    }

    /// Adds a flag.
    #[must_use]
    pub fn flag(mut self, key: &str, value: impl ToString) -> Self {
        self.flags.push((key.to_owned(), value.to_string()));
        self
    }
}

impl RawConfig {
    /// Merges all sources.
    ///
    /// # Errors
    /// [`ConfigError`] for a file that cannot be read, an unknown key, or a value of the wrong kind.
    pub fn load(sources: &ConfigSources) -> Result<Self, ConfigError> {
        let mut root_key = None;
        let mut tree = match &sources.file {
            Some(path) => read_file(path)?,
            None => Table::new(),
        };
        let mut env: Vec<_> = sources.env.iter().filter(|(name, _)| name.starts_with(ENV_PREFIX)).collect();
        env.sort();
        for (name, value) in env {
            let key =
                name[ENV_PREFIX.len()..].split("__").map(str::to_lowercase).collect::<Vec<_>>().join(".");
            if key == ROOT_KEY {
                root_key = Some(Secret::new(value.trim()));
                continue;
            }
            set(&mut tree, &key, value).map_err(|why| ConfigError::Override { origin: name.clone(), why })?;
        }
        for (key, value) in &sources.flags {
            // A command line is readable by every process of the machine.
            if key == ROOT_KEY {
                return Err(secret_place(&format!("--set {ROOT_KEY}")));
            }
            set(&mut tree, key, value)
                .map_err(|why| ConfigError::Override { origin: format!("{key}={value}"), why })?;
        }
        let mut raw = parse(tree).map_err(|why| ConfigError::value("configuration", why))?;
        raw.auth.root_key = root_key;
        Ok(raw)
    }

    /// The tree as TOML, without secrets.
    ///
    /// # Errors
    /// None in practice.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        toml::to_string(self).map_err(|e| ConfigError::value("configuration", e.to_string()))
    }
}

fn secret_place(origin: &str) -> ConfigError {
    let why = "the key itself may stand only in the variable ENGRAM__AUTH__ROOT_KEY; or write it to a file that only \
               the server can read, and name that in auth.root_key_file";
    ConfigError::Override { origin: origin.to_owned(), why: why.to_owned() }
}

/// Reads a file and checks it alone, so that an error can name its line.
fn read_file(path: &Path) -> Result<Table, ConfigError> {
    let fail = |why: String| ConfigError::File { path: path.display().to_string(), why };
    let text = std::fs::read_to_string(path)
        .map_err(|e| fail(format!("cannot be read ({e}); name a file that exists with --config")))?;
    let raw: RawConfig = toml::from_str(&text).map_err(|e| fail(e.to_string()))?;
    if raw.auth.root_key.is_some() {
        return Err(secret_place(&path.display().to_string()));
    }
    toml::from_str(&text).map_err(|e| fail(e.to_string()))
}

fn parse(tree: Table) -> Result<RawConfig, String> {
    RawConfig::deserialize(Value::Table(tree)).map_err(|e| e.to_string().trim_end().to_owned())
}

/// Puts one value at a dotted key, as the kind that the default of that key has.
fn set(tree: &mut Table, key: &str, value: &str) -> Result<(), String> {
    let defaults = Table::try_from(RawConfig::default()).map_err(|e| e.to_string())?;
    let typed = match lookup(&defaults, key) {
        Some(Value::Integer(_)) => Value::Integer(
            value.parse().map_err(|_| format!("`{value}` is no whole number; give one, for instance 64"))?,
        ),
        Some(Value::Float(_)) => Value::Float(
            value.parse().map_err(|_| format!("`{value}` is no number; give one, for instance 0.9"))?,
        ),
        Some(Value::Boolean(_)) => Value::Boolean(
            value.parse().map_err(|_| format!("`{value}` is neither true nor false; give one of them"))?,
        ),
        Some(Value::Array(_)) => {
            let parts = value.split(',').map(str::trim).filter(|part| !part.is_empty());
            Value::Array(parts.map(|part| Value::String(part.to_owned())).collect())
        }
        Some(Value::Table(_)) => return Err(format!("`{key}` is a section; name a key in it")),
        Some(_) => Value::String(value.to_owned()),
        None => return Err(unknown(&defaults, key)),
    };
    let mut parts: Vec<&str> = key.split('.').collect();
    let Some(last) = parts.pop() else { return Err(unknown(&defaults, key)) };
    let mut table = tree;
    for part in parts {
        let below = table.entry(part).or_insert_with(|| Value::Table(Table::new()));
        table = below.as_table_mut().ok_or_else(|| format!("`{part}` is no section"))?;
    }
    table.insert(last.to_owned(), typed);
    Ok(())
}

fn lookup<'a>(tree: &'a Table, key: &str) -> Option<&'a Value> {
    let (first, rest) = match key.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (key, None),
    };
    let found = tree.get(first)?;
    match rest {
        None => Some(found),
        Some(rest) => lookup(found.as_table()?, rest),
    }
}

fn unknown(defaults: &Table, key: &str) -> String {
    let section =
        key.split_once('.').and_then(|(section, _)| Some((section, defaults.get(section)?.as_table()?)));
    let (place, known) = match section {
        Some((section, table)) => (format!("keys of [{section}]"), table),
        None => ("keys and sections".to_owned(), defaults),
    };
    let names: Vec<&str> = known.keys().map(String::as_str).collect();
    format!("there is no key `{key}`; {place}: {}", names.join(", "))
}
