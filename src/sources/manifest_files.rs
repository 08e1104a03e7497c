//! Files that a manifest carries as layers, each told by its name (OCI image-spec, "Guidelines for
//! Artifact Usage").

use std::collections::BTreeMap;

use rootpin_trust::canonical::{Text, rewrite_doubles};
use rootpin_trust::image::{Descriptor, Document, ManifestError};

/// The layers of that media type by the name that this annotation gives each; other layers are
/// passed over.
///
/// # Errors
/// No manifest within [`Document::LIMITS`], a layer of that type without a name, or two of one
/// name.
pub(crate) fn files_of(
    bytes: &[u8],
    media_type: &str,
    annotation: &str,
) -> Result<BTreeMap<String, Descriptor>, ManifestError> {
    let Document::Manifest { .. } = Document::parse(bytes)? else {
        return Err(ManifestError::Shape("an index, not a manifest"));
    };
    let text = rewrite_doubles(bytes, Document::LIMITS)?;
    let mut files = BTreeMap::new();
    let layers = Text::of(&text).get("layers").and_then(Text::elements);
    for layer in layers.into_iter().flatten() {
        let descriptor = Descriptor::read(layer)?;
        if descriptor.media_type != media_type {
            continue;
        }
        let name = layer
            .get("annotations")
            .and_then(|annotations| annotations.get(annotation))
            .and_then(Text::as_str);
        let name = name.ok_or(ManifestError::Shape("a file without a name"))?;
        if files.insert(name.into_owned(), descriptor).is_some() {
            return Err(ManifestError::Shape("two files of one name"));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rootpin_trust::image::Digest;

    fn layer(kind: &str, annotations: &str) -> String {
        format!(
            r#"{{"mediaType":"{kind}","digest":"{}","size":1,"annotations":{annotations}}}"#,
            Digest::of(b"x")
        )
    }

    fn files(layers: &[String]) -> Result<Vec<String>, ManifestError> {
        let manifest = format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#,
            layer("c", "{}"),
            layers.join(",")
        );
        Ok(files_of(manifest.as_bytes(), "t", "name")?
            .into_keys()
            .collect())
    }

    #[test]
    fn layers_of_the_wanted_type_are_files_and_others_are_passed_over() {
        let layers = [
            layer("t", r#"{"name":"a"}"#),
            layer("other", r#"{"name":"b"}"#),
            layer("other", "{}"),
        ];
        assert_eq!(files(&layers).unwrap(), ["a"]);
        assert_eq!(files(&[]).unwrap(), [""; 0]);
    }

    #[test]
    fn a_file_without_a_name_of_its_own_is_refused() {
        for layers in [
            [layer("t", "{}"), layer("t", r#"{"name":"a"}"#)],
            [layer("t", r#"{"name":"a"}"#), layer("t", r#"{"name":"a"}"#)],
        ] {
            assert!(files(&layers).is_err());
        }
        assert!(files_of(br#"{"manifests":[]}"#, "t", "name").is_err());
    }
}
