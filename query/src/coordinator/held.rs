//! Several requests to the same shards: about one state of each, until one deadline.

use std::sync::Arc;
use std::time::Instant;

use super::{Fan, gather};
use crate::error::{QueryError, Result};
use crate::searcher::ShardScope;

impl Fan {
    /// The same shards, each in the state it has now: all requests of this fan then see the very same points. A shard that
    /// cannot keep a state, or does not answer, is read anew by each request.
    pub async fn hold(self) -> Result<Self> {
        let shards: Vec<&ShardScope> = self.scopes.iter().chain(self.others.iter()).collect();
        let calls = shards.into_iter().map(|scope| self.searcher.hold(scope.clone()));
        let gathered = gather(calls, self.deadline).await?;
        let mut scopes = self.scopes.as_ref().clone();
        let mut others = self.others.clone();
        for (number, pin) in gathered.answers {
            match number.checked_sub(scopes.len()) {
                None => scopes[number].pin = pin,
                Some(number) => others[number].pin = pin,
            }
        }
        Ok(Self { scopes: Arc::new(scopes), others, ..self })
    }

    /// The same shards until another deadline.
    pub fn until(&self, deadline: Instant) -> Self {
        let until = |scope: &ShardScope| ShardScope { deadline, ..scope.clone() };
        let scopes = self.scopes.iter().map(until).collect();
        let others = self.others.iter().map(until).collect();
        let (searcher, schema) = (self.searcher.clone(), self.schema.clone());
        Self { searcher, schema, scopes: Arc::new(scopes), others, deadline }
    }
}

/// Asks every shard of `fan`, by its number: what each answers, in the order of the shards, and why some do not.
pub(crate) async fn scatter<T, F>(
    fan: &Fan,
    call: impl Fn(usize, ShardScope) -> F,
) -> Result<(Vec<T>, Option<QueryError>)>
where
    T: Default,
    F: Future<Output = Result<T>>,
{
    let calls = fan.scopes.iter().enumerate().map(|(number, scope)| call(number, scope.clone()));
    let gathered = gather(calls, fan.deadline).await?;
    let mut answers = Vec::new();
    answers.resize_with(fan.scopes.len(), T::default);
    for (number, answer) in gathered.answers {
        answers[number] = answer;
    }
    Ok((answers, gathered.late))
}
