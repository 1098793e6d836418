//! One route: where it is, what it is called, what it takes and gives, and who answers.

use std::pin::Pin;

use axum::http::Method;
use utoipa::ToSchema;
use utoipa::openapi::schema::{ArrayBuilder, Schema};
use utoipa::openapi::{Ref, RefOr};

use super::answer::Answer;
use super::call::Call;
use super::error::RestError;
use crate::access::Access;

/// Who answers.
pub(crate) type Handler =
    fn(Call) -> Pin<Box<dyn Future<Output = Result<Answer, RestError>> + Send + 'static>>;

/// Schemas by name, as the description of the interface lists them.
pub(crate) type Schemas = Vec<(String, RefOr<Schema>)>;

/// Puts the schema of a type, and those it uses, into the list, and refers to it.
pub(crate) type SchemaOf = fn(&mut Schemas) -> RefOr<Schema>;

/// A route.
pub(crate) struct Route {
    /// What it asks of its caller.
    pub(crate) access: Access,
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    /// Name of the operation.
    pub(crate) name: &'static str,
    pub(crate) tag: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) handler: Handler,
    pub(crate) body: Option<SchemaOf>,
    pub(crate) result: Option<SchemaOf>,
    /// The body is a form with a file, read as it comes.
    pub(crate) file_body: bool,
    /// It is answered by a file.
    pub(crate) file_result: bool,
    /// It is a write: takes `wait`.
    pub(crate) writes: bool,
    /// It is answered at once where `wait` is false, and goes on.
    pub(crate) accepts: bool,
    /// It is answered by what it is missing.
    pub(crate) absent: bool,
}

/// The schema of `T`.
pub(crate) fn schema_of<T: ToSchema>(all: &mut Schemas) -> RefOr<Schema> {
    let name = T::name().into_owned();
    if !all.iter().any(|(other, _)| *other == name) {
        all.push((name.clone(), T::schema()));
        T::schemas(all);
    }
    RefOr::Ref(Ref::from_schema_name(name))
}

/// A list of `T`, which has no name: all lists would share it.
pub(crate) fn list_of<T: ToSchema>(all: &mut Schemas) -> RefOr<Schema> {
    listed(schema_of::<T>(all))
}

/// A list of lists of `T`.
pub(crate) fn lists_of<T: ToSchema>(all: &mut Schemas) -> RefOr<Schema> {
    listed(list_of::<T>(all))
}

fn listed(item: RefOr<Schema>) -> RefOr<Schema> {
    RefOr::T(Schema::Array(ArrayBuilder::new().items(item).build()))
}

impl Route {
    /// A route that takes no body.
    pub(crate) const fn new(
        method: Method,
        (access, path): (Access, &'static str),
        (name, tag): (&'static str, &'static str),
        summary: &'static str,
        handler: Handler,
    ) -> Self {
        let (body, result) = (None, None);
        Self {
            access,
            method,
            path,
            name,
            tag,
            summary,
            handler,
            body,
            result,
            file_body: false,
            file_result: false,
            writes: false,
            accepts: false,
            absent: false,
        }
    }

    pub(crate) const fn takes(mut self, body: SchemaOf) -> Self {
        self.body = Some(body);
        self
    }

    pub(crate) const fn gives(mut self, result: SchemaOf) -> Self {
        self.result = Some(result);
        self
    }

    /// Takes a form with a file.
    pub(crate) const fn takes_file(mut self, form: SchemaOf) -> Self {
        self.file_body = true;
        self.takes(form)
    }

    pub(crate) const fn gives_file(mut self) -> Self {
        self.file_result = true;
        self
    }

    pub(crate) const fn writes(mut self) -> Self {
        self.writes = true;
        self
    }

    pub(crate) const fn accepts(mut self) -> Self {
        self.accepts = true;
        self
    }

    pub(crate) const fn absent(mut self) -> Self {
        self.absent = true;
        self
    }

    /// Under which requests are counted.
    pub(crate) fn label(&self) -> &'static str {
        self.name
    }
}
