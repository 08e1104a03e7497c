//! stub
use std::path::Path;
pub fn check(_dir: &Path, _json: bool) -> (String, u8) {
    (String::new(), 0)
}
pub fn explain(_dir: &Path, _name: &str, _json: bool) -> (String, u8) {
    (String::new(), 0)
}
pub fn explain_text(_: &serde_json::Value) -> String {
    String::new()
}
pub fn explanation_json(_: &crate::policy::Explanation) -> serde_json::Value {
    serde_json::Value::Null
}
