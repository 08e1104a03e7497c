//! A root in one line.

use crate::plain_text::counted;
use rootpin_policy::{NotaryRoot, Root, RootKind};

/// Its id, its type, where its metadata is, or what its signatures bind.
pub(crate) fn shown_root(root: &Root) -> String {
    let (id, binds) = (&root.id, root.binds());
    match &root.kind {
        RootKind::Notary(NotaryRoot { server, role, .. }) => {
            format!("{id} (notary at {server}, role {role}, {binds})")
        }
        RootKind::Tuf(tuf) => {
            let places: Vec<_> = tuf.metadata.iter().map(ToString::to_string).collect();
            let places = match places.as_slice() {
                [] => "nowhere".to_owned(),
                some => some.join(", "),
            };
            let version = tuf.pinned.version();
            format!("{id} (tuf at {places}, from root {version}, {binds})")
        }
        RootKind::Notation(notation) => {
            let certificates = counted(notation.certificates.len(), "certificate");
            format!("{id} (notation, {certificates}, {binds})")
        }
        RootKind::Cosign(cosign) => {
            let (threshold, keys) = (cosign.threshold, counted(cosign.keys.len(), "key"));
            format!("{id} (cosign, {threshold} of {keys}, {binds})")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rootpin_trust::image::Digest;

    use super::*;

    #[test]
    fn a_line_has_the_type_and_where_the_metadata_is_or_what_is_bound() {
        let data = |path: &str| {
            let top = env!("CARGO_MANIFEST_DIR");
            std::fs::read(format!("{top}/tests/data/{path}")).unwrap()
        };
        let (file, key) = (data("tuf/1.root.json"), data("keys/p384.pub"));
        let sha256 = Digest::of(&file).hex();
        let policy = format!(
            "version = 1\ndefault = \"deny\"\n\
             [[root]]\nid = \"a\"\ntype = \"tuf\"\nfile = \"a.json\"\nsha256 = \"{sha256}\"\n\
             [[root]]\nid = \"b\"\ntype = \"cosign\"\nkeys = [\"b.pub\"]\n\
             [[rule]]\nmatch = \"r.example/a\"\nroots = [\"a\", \"b\"]\nquorum = 2\n"
        );
        let files = BTreeMap::from([
            ("policy.toml".to_owned(), policy.into_bytes()),
            ("a.json".to_owned(), file),
            ("b.pub".to_owned(), key),
        ]);
        let policy = rootpin_policy::load(&files, jiff::Timestamp::now()).unwrap();
        let shown: Vec<_> = policy.roots.values().map(|root| shown_root(root)).collect();
        assert_eq!(
            shown,
            [
                "a (tuf at nowhere, from root 1, binds digest, name, tag, freshness)",
                "b (cosign, 1 of 1 key, binds digest; not name, tag, freshness)",
            ]
        );
    }
}
