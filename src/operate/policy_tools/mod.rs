//! What a policy would do before it is in force: lint, diff and simulation. No door asks here, and
//! nothing that is found lets an image in.

mod asked;
mod borrowed_text;
mod cases;
mod diff;
mod entries;
mod fleet;
#[cfg(test)]
mod fuzz;
mod inventory;
mod judged;
mod known_answers;
mod left_out;
mod lint;
mod parts;
mod pulled;
mod reported;
mod settling;
mod simulate;
mod suppose;

pub(crate) use cases::{Tested, test};
pub use diff::{Compared, Comparison, differing_entries};
pub use inventory::Inventory;
pub use left_out::{LeftOut, exit_code};
pub use lint::{LintFinding, Linted, lint};
pub use simulate::{HostChange, ImageChange, Simulated, Simulation};
