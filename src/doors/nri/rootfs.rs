//! The chain ID of an image's root file system: what its configuration says that its unpacked
//! layers are.

use rootpin_trust::canonical::{Text, rewrite_doubles};
use rootpin_trust::image::{Digest, Document, ManifestError};

/// No engine stacks more layers.
const MAX_LAYERS: usize = 1024;

/// The chain ID that a configuration's `rootfs.diff_ids` stand for (OCI image-spec, config, "Layer
/// `ChainID`"): the name of the snapshot that the image is unpacked to. None for an image without
/// layers.
///
/// # Errors
/// The bytes are no image configuration.
pub(super) fn chain_id(config: &[u8]) -> Result<Option<Digest>, ManifestError> {
    let text = rewrite_doubles(config, Document::LIMITS)?;
    let listed = Text::of(&text)
        .get("rootfs")
        .and_then(|rootfs| rootfs.get("diff_ids"))
        .and_then(Text::elements);
    let listed = listed.ok_or(ManifestError::Shape(
        "a configuration without rootfs.diff_ids",
    ))?;
    let listed: Vec<Text<'_>> = listed.take(MAX_LAYERS + 1).collect();
    if listed.len() > MAX_LAYERS {
        return Err(ManifestError::Shape("a configuration of too many layers"));
    }
    let mut chain: Option<Digest> = None;
    for layer in listed {
        let layer: Digest = layer
            .as_str()
            .ok_or(ManifestError::Shape("a diff_id that is no text"))?
            .parse()?;
        chain = Some(chain.map_or(layer, |below| {
            Digest::of(format!("{below} {layer}").as_bytes())
        }));
    }
    Ok(chain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(layers: &[Digest]) -> String {
        let layers: Vec<_> = layers.iter().map(|layer| format!("\"{layer}\"")).collect();
        format!(
            r#"{{"os":"linux","rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
            layers.join(",")
        )
    }

    #[test]
    fn the_first_layer_is_its_own_chain_and_each_further_one_is_hashed_onto_the_chain_below() {
        let (first, second) = (Digest::of(b"first"), Digest::of(b"second"));
        assert_eq!(chain_id(config(&[]).as_bytes()).unwrap(), None);
        assert_eq!(chain_id(config(&[first]).as_bytes()).unwrap(), Some(first));
        let both = Digest::of(format!("sha256:{} sha256:{}", first.hex(), second.hex()).as_bytes());
        assert_eq!(
            chain_id(config(&[first, second]).as_bytes()).unwrap(),
            Some(both)
        );
        assert_ne!(
            chain_id(config(&[second, first]).as_bytes()).unwrap(),
            Some(both)
        );
    }

    #[test]
    fn what_is_no_configuration_has_no_chain() {
        let good = config(&[Digest::of(b"x")]);
        for bad in [
            "",
            "{}",
            r#"{"rootfs":{}}"#,
            r#"{"rootfs":{"diff_ids":"x"}}"#,
            r#"{"rootfs":{"diff_ids":[1]}}"#,
            &good.replace("256", "512"),
        ] {
            assert!(chain_id(bad.as_bytes()).is_err(), "{bad}");
        }
        let twice = good.replace("\"rootfs\"", "\"rootfs\":{\"diff_ids\":[]},\"rootfs\"");
        assert!(chain_id(twice.as_bytes()).is_err());
        assert!(chain_id(config(&vec![Digest::of(b"x"); 1025]).as_bytes()).is_err());
    }
}
