//! `engram keys`: API keys of a tenant.

use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};
use engram_proto::v1;
use serde_json::{Value, json};

use crate::client::{Connection, refused};
use crate::duration;
use crate::output::{self, line, table, time};

/// List, create, rotate and revoke API keys.
///
/// Needs the root key (with --tenant for another tenant than `default`), or a key with the role admin, which can give no
/// more than it has itself. A key is shown once, when it is made: the server keeps a hash of it.
#[derive(Subcommand)]
pub enum Keys {
    /// List the keys of the tenant.
    List {
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    Create(Create),
    /// Give a key another secret. The one before stays good for a while, so that its holders can change over.
    Rotate {
        /// Id of the key.
        id: String,
        /// The secret before stays good for so long, 30d at most.
        #[arg(long, value_name = "AGE", default_value = "1d", value_parser = duration::parse_seconds, conflicts_with = "now")]
        grace: u64,
        /// End all earlier secrets at once.
        #[arg(long)]
        now: bool,
        /// Print JSON instead of lines.
        #[arg(long)]
        json: bool,
    },
    /// End a key at once and for good.
    Revoke {
        /// Id of the key.
        id: String,
    },
}

/// Create a key, and print it: once, here.
///
/// Example: engram keys create search-agent --role read --collections words,pages --expires 90d
#[derive(Args)]
pub struct Create {
    /// What to call it.
    name: String,
    /// What it allows; each role includes those before it.
    #[arg(long, value_enum)]
    role: RoleName,
    /// Limit it to these collections; it is for all of the tenant without.
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    collections: Vec<String>,
    /// It is no good after this time, such as 90d; it does not expire without.
    #[arg(long, value_name = "AGE", value_parser = duration::parse_seconds)]
    expires: Option<u64>,
    /// Print JSON instead of lines.
    #[arg(long)]
    json: bool,
}

/// What a key allows.
#[derive(Clone, Copy, ValueEnum)]
pub enum RoleName {
    /// Searches and reads.
    Read,
    /// Changes points.
    Write,
    /// Defines and deletes collections, purges, manages keys of the tenant.
    Admin,
}

impl RoleName {
    fn wire(self) -> v1::KeyRole {
        match self {
            Self::Read => v1::KeyRole::Read,
            Self::Write => v1::KeyRole::Write,
            Self::Admin => v1::KeyRole::Admin,
        }
    }
}

impl Keys {
    /// Runs the command.
    pub async fn run(&self, connection: &Connection) -> Result<()> {
        let mut keys = connection.open().await?.keys();
        match self {
            Self::List { json } => {
                let all = keys.list_keys(v1::ListKeysRequest {}).await.map_err(refused)?.into_inner().keys;
                if *json { output::json(&all.iter().map(value).collect()) } else { show(&all) }
            }
            Self::Create(create) => {
                let made = keys.create_key(create.request()).await.map_err(refused)?.into_inner();
                hand_out(&made, create.json)
            }
            Self::Rotate { id, grace, now, json } => {
                let grace_s = if *now { 0 } else { *grace };
                let request = v1::RotateKeyRequest { id: id.clone(), grace_s };
                let made = keys.rotate_key(request).await.map_err(refused)?.into_inner();
                hand_out(&made, *json)
            }
            Self::Revoke { id } => {
                let request = v1::RevokeKeyRequest { id: id.clone() };
                let revoked = keys.revoke_key(request).await.map_err(refused)?.into_inner().revoked;
                let before = if revoked { "" } else { "; it was revoked before" };
                line(format!("key {id} is revoked{before}"))
            }
        }
    }
}

impl Create {
    fn request(&self) -> v1::CreateKeyRequest {
        v1::CreateKeyRequest {
            name: self.name.clone(),
            role: self.role.wire().into(),
            all_collections: self.collections.is_empty(),
            collections: self.collections.clone(),
            expires_in_s: self.expires.unwrap_or(0),
        }
    }
}

/// Prints a new secret: the key alone on the standard output, so that it can go to a file, the rest for who watches.
fn hand_out(made: &v1::NewKey, json: bool) -> Result<()> {
    let key = made.key.as_ref().context("the server's answer has no key in it")?;
    if json {
        let mut value = value(key);
        value["secret"] = json!(made.secret);
        return output::json(&value);
    }
    eprintln!(
        "key {} ({}), role {}, for {}; this is shown only now:",
        key.id,
        key.name,
        role(key),
        reach(key)
    );
    line(&made.secret)
}

fn role(key: &v1::Key) -> &'static str {
    match key.role() {
        v1::KeyRole::Read => "read",
        v1::KeyRole::Write => "write",
        v1::KeyRole::Admin => "admin",
        v1::KeyRole::Unspecified => "unknown",
    }
}

fn reach(key: &v1::Key) -> String {
    if key.all_collections { "all collections".to_owned() } else { key.collections.join(", ") }
}

fn state(key: &v1::Key) -> String {
    match (key.revoked_at_ms, key.secrets, key.earlier_secret_ends_ms) {
        (Some(at), _, _) => format!("revoked {}", time(at)),
        (None, 0, _) => "expired".to_owned(),
        (None, _, Some(end)) => format!("rotating until {}", time(end)),
        (None, _, None) => "good".to_owned(),
    }
}

fn show(keys: &[v1::Key]) -> Result<()> {
    let mut shown = table(["id", "name", "role", "collections", "state", "last used", "expires"]);
    let moment = |at: Option<i64>| at.map_or_else(|| "-".to_owned(), time);
    for key in keys {
        shown.add_row([
            key.id.clone(),
            key.name.clone(),
            role(key).to_owned(),
            reach(key),
            state(key),
            moment(key.last_used_ms),
            moment(key.expires_at_ms),
        ]);
    }
    line(shown)
}

fn value(key: &v1::Key) -> Value {
    json!({
        "id": key.id,
        "name": key.name,
        "role": role(key),
        "all_collections": key.all_collections,
        "collections": key.collections,
        "state": state(key),
        "secrets": key.secrets,
        "created_at_ms": key.created_at_ms,
        "expires_at_ms": key.expires_at_ms,
        "last_used_ms": key.last_used_ms,
        "revoked_at_ms": key.revoked_at_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_a_key_is_told() {
        let key = v1::Key { secrets: 1, ..Default::default() };
        assert_eq!(state(&key), "good");
        let rotating = v1::Key { secrets: 2, earlier_secret_ends_ms: Some(0), ..key.clone() };
        assert_eq!(state(&rotating), "rotating until 1970-01-01T00:00:00Z");
        assert_eq!(state(&v1::Key { secrets: 0, ..key.clone() }), "expired");
        assert_eq!(state(&v1::Key { revoked_at_ms: Some(0), ..rotating }), "revoked 1970-01-01T00:00:00Z");
        assert_eq!(value(&key).get("secret"), None);
    }
}
