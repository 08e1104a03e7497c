//! What is said of an image that signatures beside it are not enough for: where they are looked for, and
//! what is at hand while the registry can't be heard.

use super::RootLook;
use super::drive::revoked_beside;
use rootpin_trust::{Code, Refusal, SignedImage};

/// The refusal of an image that is not signed, with where its signatures are looked for, and the command
/// that shows what is there, unless that is what asks. `is_unsigned`: whether there are none.
pub(super) fn shown_where(
    mut no: Refusal,
    look: RootLook<'_>,
    image: SignedImage<'_>,
    is_unsigned: bool,
) -> Refusal {
    if no.code != Code::NoStatement {
        return no;
    }
    let (signed, digest) = (image.repository, image.digest);
    let beside = look.beside.unwrap_or(signed);
    if is_unsigned && beside != signed {
        no.found = format!(
            "no signature of {digest} in {beside}, where one that names {signed} is looked for"
        );
        no.hint = "copy the signatures with the image (cosign copy), or have its publisher sign it under the name that signed-as gives".to_owned();
    }
    if look.replies.is_none() {
        let command = format!("; `rootpin verify {beside}@{digest}` shows what is there");
        no.hint.push_str(&command);
    }
    no
}

/// Why a registry could not be heard, with why what is at hand is not enough: a host without a network
/// needs to know which signatures it is to be brought.
pub(super) fn beside_what_is_at_hand(mut refusal: Refusal, at_hand: Option<&Refusal>) -> Refusal {
    let Some(no) = at_hand else {
        return refusal;
    };
    if refusal.code == Code::SourceUnreachable && no.code != Code::Revoked {
        let known = format!("; at hand is {}", no.found);
        refusal.found.push_str(&known);
        let bring = "; a host without a network needs a bundle with a signature that counts: rootpin bundle import";
        refusal.hint.push_str(bring);
    }
    revoked_beside(refusal, no)
}
