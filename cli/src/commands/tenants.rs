//! `engram tenants`: owners of collections and keys, apart from each other.

use anyhow::{Result, bail};
use clap::Subcommand;
use engram_proto::v1;
use serde_json::json;

use crate::client::{Connection, refused};
use crate::output::{self, line, table, time};

/// List, create and delete tenants. Needs the root key.
///
/// A tenant has collections and keys of its own, and sees nothing of the others. The tenant `default` is always there.
/// With the root key, --tenant says for which tenant a command is.
#[derive(Subcommand)]
pub enum Tenants {
    /// List all tenants.
    List {
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Create a tenant.
    Create {
        /// Name: 1 to 64 of a-z, A-Z, 0-9, -, _ and .
        name: String,
    },
    /// Delete a tenant with its keys. It must have no collections.
    Delete {
        /// Name.
        name: String,
        /// Really do it: its keys are gone at once.
        #[arg(long)]
        yes: bool,
    },
}

impl Tenants {
    /// Runs the command.
    pub async fn run(&self, connection: &Connection) -> Result<()> {
        if let Self::Delete { name, yes: false } = self {
            bail!("this deletes tenant {name:?} and its keys for good; repeat it with --yes");
        }
        let mut keys = connection.open().await?.keys();
        match self {
            Self::List { json } => {
                let all = keys.list_tenants(v1::ListTenantsRequest {}).await.map_err(refused)?;
                show(&all.into_inner().tenants, *json)
            }
            Self::Create { name } => {
                let request = v1::CreateTenantRequest { name: name.clone() };
                let made = keys.create_tenant(request).await.map_err(refused)?.into_inner();
                line(format!(
                    "created tenant {}; make its first key with: engram keys create --tenant {} --role admin NAME",
                    made.name, made.name
                ))
            }
            Self::Delete { name, .. } => {
                let request = v1::DeleteTenantRequest { name: name.clone() };
                let existed = keys.delete_tenant(request).await.map_err(refused)?.into_inner().existed;
                if !existed {
                    bail!("there is no tenant {name:?}");
                }
                line(format!("deleted tenant {name}"))
            }
        }
    }
}

fn show(tenants: &[v1::Tenant], json: bool) -> Result<()> {
    if json {
        let value = |t: &v1::Tenant| json!({ "name": t.name, "id": t.id, "created_at_ms": t.created_at_ms });
        return output::json(&tenants.iter().map(value).collect());
    }
    let mut shown = table(["tenant", "id", "created"]);
    for tenant in tenants {
        let created = if tenant.created_at_ms == 0 { "-".to_owned() } else { time(tenant.created_at_ms) };
        shown.add_row([tenant.name.clone(), tenant.id.to_string(), created]);
    }
    line(shown)
}
