//! Aliases.

use engram_query::database::AliasChange;
use engram_query::limits::at_most;
use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::call::{Call, finish};
use super::error::RestError;
use super::weight::Shape;

/// Most changes of one request.
const MAX_ACTIONS: usize = 1_000;

/// Changes of aliases, in their order, as one: all of them happen, or none.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeAliases {
    actions: Vec<AliasAction>,
}

/// One change.
#[derive(Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) enum AliasAction {
    #[serde(rename = "create_alias")]
    Create { collection_name: String, alias_name: String },
    #[serde(rename = "delete_alias")]
    Delete { alias_name: String },
    #[serde(rename = "rename_alias")]
    Rename { old_alias_name: String, new_alias_name: String },
}

impl From<AliasAction> for AliasChange {
    fn from(action: AliasAction) -> Self {
        match action {
            AliasAction::Create { collection_name, alias_name } => {
                Self::Set { alias: alias_name, collection: collection_name }
            }
            AliasAction::Delete { alias_name } => Self::Delete { alias: alias_name },
            AliasAction::Rename { old_alias_name, new_alias_name } => {
                Self::Rename { from: old_alias_name, to: new_alias_name }
            }
        }
    }
}

/// Aliases.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct AliasesList {
    aliases: Vec<AliasOut>,
}

#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct AliasOut {
    alias_name: String,
    collection_name: String,
}

pub(crate) async fn change(call: Call) -> Result<Answer, RestError> {
    let body: ChangeAliases = call.json(Shape::Tree).await?;
    at_most("the number of actions", body.actions.len(), MAX_ACTIONS, "split the request")?;
    let (context, principal) = (call.context.clone(), call.principal);
    let changes = body.actions.into_iter().map(AliasChange::from).collect();
    finish(async move { Ok(context.database.change_aliases(principal, changes).await?) }).await?;
    call.answer(&true)
}

fn told(call: &Call, wanted: impl Fn(&str) -> bool) -> AliasesList {
    let all = call.context.database.aliases(call.principal).into_iter();
    let aliases = all.filter(|(_, collection)| wanted(collection));
    let out = |(alias_name, collection_name)| AliasOut { alias_name, collection_name };
    AliasesList { aliases: aliases.map(out).collect() }
}

pub(crate) async fn list(call: Call) -> Result<Answer, RestError> {
    call.answer(&told(&call, |_| true))
}

pub(crate) async fn of_collection(call: Call) -> Result<Answer, RestError> {
    let schema = call.schema()?;
    call.answer(&told(&call, |collection| collection == schema.name))
}
