//! Ed25519 keys that are none: under a point of small order anybody can make signatures, and a
//! point that is written another way than the one right way would be a second key.

/// The coordinates of the points of small order, written the right way (the sign of the other
/// coordinate left out).
const SMALL_ORDER: [[u8; 32]; 5] = [
    [0; 32],
    [
        1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0,
    ],
    [
        0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0x7f,
    ],
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
];

/// Whether a key is of small order, or not below the field's prime, 2^255 - 19.
pub(super) fn is_weak(key: &[u8; 32]) -> bool {
    let mut point = *key;
    let [first, middle @ .., last] = &mut point;
    *last &= 0x7f;
    let beyond = *first >= 0xed && middle.iter().all(|byte| *byte == 0xff) && *last == 0x7f;
    beyond || SMALL_ORDER.contains(&point)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    #[test]
    fn a_key_under_which_anybody_can_sign_is_none_with_either_sign() {
        // The neutral point and s = 0: good for every message, as far as the algorithm goes.
        let (neutral, mut signature) = (SMALL_ORDER[1], [0; 64]);
        signature[0] = 1;
        assert!(
            UnparsedPublicKey::new(&ED25519, neutral)
                .verify(b"any", &signature)
                .is_ok()
        );
        for mut point in SMALL_ORDER {
            assert!(is_weak(&point));
            point[31] |= 0x80;
            assert!(is_weak(&point));
            point[15] ^= 1;
            assert!(!is_weak(&point));
        }
    }

    #[test]
    fn a_point_is_written_one_way() {
        for (first, weak) in [
            (0xeb, false),
            (0xec, true),
            (0xed, true),
            (0xee, true),
            (0xff, true),
        ] {
            let mut point = [0xff; 32];
            (point[0], point[31]) = (first, 0x7f);
            assert_eq!(is_weak(&point), weak, "{first:x}");
        }
    }
}
