//! What uses most of something: what people ask, who of them may, and how it is found out.

mod asked;
mod controllers;
mod guard;
mod questions;

pub use asked::{Ask, BadAsk};
pub(crate) use controllers::value;
pub use controllers::{Totalled, controllers};
pub use guard::{Guard, NotAllowed, Right};
pub use questions::{Busy, Open, Person, Questions, Wanted};

/// Rows in their order: the largest value first, and of equal ones by namespace and name.
fn order(one: (f64, &str, &str), other: (f64, &str, &str)) -> std::cmp::Ordering {
    let names = (one.1, one.2).cmp(&(other.1, other.2));
    other.0.total_cmp(&one.0).then(names)
}
