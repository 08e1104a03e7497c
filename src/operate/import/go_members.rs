//! Names of members as the decoders of the source programs read them: Go's decoders take a field in
//! letters of any case, and viper lowers every name. Of two that are one to them nobody can say which
//! counts, so such a file is an error.

use std::collections::BTreeMap;

use rootpin_trust::image::is_same_to_go;
use serde_json::{Map, Value};

use crate::problem::Problem;

/// The members of an object that Go decodes into a struct with these fields, each under its field's
/// name. Other members keep theirs.
pub(super) fn decoded<V>(
    members: impl IntoIterator<Item = (String, V)>,
    fields: &[&str],
) -> Result<BTreeMap<String, V>, Problem> {
    let mut read = BTreeMap::new();
    for (name, value) in members {
        let field = fields.iter().find(|field| is_same_to_go(&name, field));
        let field = field.map_or_else(|| name.clone(), |field| (*field).to_owned());
        if read.insert(field.clone(), value).is_some() {
            return Err(Problem::new(format!(
                "{field:?} stands twice: {name:?} is the same member to its tools"
            )));
        }
    }
    Ok(read)
}

/// The object with every name in lower case, at any depth, as viper keeps it.
pub(super) fn lowered(object: Map<String, Value>) -> Result<Map<String, Value>, Problem> {
    let mut read = Map::new();
    for (name, value) in object {
        let value = match value {
            Value::Object(inner) => Value::Object(lowered(inner)?),
            value => value,
        };
        if read.insert(name.to_lowercase(), value).is_some() {
            return Err(Problem::new(format!(
                "{name:?} stands twice in other letters, which are the same to notary"
            )));
        }
    }
    Ok(read)
}
