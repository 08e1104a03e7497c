//! What a policy would do before it is in force: lint, diff and simulation. No door asks here, and
//! nothing that is found lets an image in.

mod inventory;
mod lint;

pub use inventory::Inventory;
pub use lint::{LintFinding, Linted, lint};
