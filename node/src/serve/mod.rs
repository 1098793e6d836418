//! The server's edges: listeners, admission, and what every request passes through.

pub(crate) mod admission;
pub(crate) mod answer_room;
pub(crate) mod collected_body;
pub(crate) mod front;
pub(crate) mod http;
pub(crate) mod listener;
pub(crate) mod metered_body;
pub(crate) mod observed_body;
pub(crate) mod opening;
pub(crate) mod places;
