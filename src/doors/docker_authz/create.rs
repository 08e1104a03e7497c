//! Finds the images that the body of `/containers/create` names.
//!
//! Go matches a member's name whatever its case, and of members that match one field the last one
//! counts (encoding/json). So members are looked up that way here, and two that are one to Go are
//! refused.

use super::odd;
use rootpin_trust::canonical::{self, Limits, Text};
use rootpin_trust::image::is_same_to_go;
use rootpin_trust::{Code, Refusal};

/// dockerd shows at most 4 MiB. A container of a thousand mounts has ten thousand values.
const LIMITS: Limits = Limits {
    bytes: (4 << 20) + 1,
    depth: 32,
    values: 200_000,
};
/// No container mounts more images.
const MOST_MOUNTED: usize = 16;

/// The image that the container is of, and those that are mounted in it, as the client wrote them.
/// No image: a container of nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CreateImages {
    pub(super) image: Option<String>,
    pub(super) mounted: Vec<String>,
}

/// Reads the body.
///
/// # Errors
/// It is not JSON in which dockerd can find one value only.
pub(super) fn read(body: &[u8]) -> Result<CreateImages, Refusal> {
    let canonical =
        canonical::rewrite_doubles(body, LIMITS).map_err(|error| malformed(&error.to_string()))?;
    let document = Text::of(&canonical);
    let image = text(document, "Image")?;
    let host = member(document, "HostConfig")?;
    let mounts = host
        .map(|host| member(host, "Mounts"))
        .transpose()?
        .flatten();
    let mounts = mounts
        .map(|mounts| {
            mounts
                .elements()
                .ok_or_else(|| malformed("Mounts is no list"))
        })
        .transpose()?;
    let mut mounted = Vec::new();
    for mount in mounts.into_iter().flatten() {
        // A mount of type "image" is the file system of an image (API 1.48).
        if text(mount, "Type")?.is_some_and(|kind| kind == "image") {
            mounted.extend(text(mount, "Source")?);
        }
    }
    if mounted.len() > MOST_MOUNTED {
        let found = format!("a container with {} images mounted", mounted.len());
        return Err(Refusal::new(
            Code::OverLimit,
            found,
            format!("at most {MOST_MOUNTED}"),
            "mount fewer images in one container",
        ));
    }
    Ok(CreateImages { image, mounted })
}

/// A string; none where it is empty, which is the same to dockerd.
fn text(value: Text<'_>, name: &'static str) -> Result<Option<String>, Refusal> {
    let Some(found) = member(value, name)? else {
        return Ok(None);
    };
    let text = found
        .as_str()
        .ok_or_else(|| malformed(&format!("{name} is no string")))?;
    Ok(Some(text.into_owned()).filter(|text| !text.is_empty()))
}

/// The only member that is `name` to Go, if it is not null.
fn member<'a>(value: Text<'a>, name: &str) -> Result<Option<Text<'a>>, Refusal> {
    let Some(members) = value.members() else {
        return if value.is_null() {
            Ok(None)
        } else {
            Err(malformed(&format!("what should hold {name} is no object")))
        };
    };
    let mut found = members
        .filter(|(known, _)| is_same_to_go(known, name))
        .map(|(_, value)| value);
    let first = found.next().filter(|value| !value.is_null());
    if found.next().is_some() {
        Err(malformed(&format!(
            "{name} stands twice, in different case"
        )))
    } else {
        Ok(first)
    }
}

fn malformed(why: &str) -> Refusal {
    odd(
        format!("the body of a container to be created: {why}"),
        "JSON that can be read in one way only",
        "use a Docker client; no known one sends this",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(body: &str) -> Result<(Option<String>, Vec<String>), String> {
        read(body.as_bytes())
            .map(|images| (images.image, images.mounted))
            .map_err(|refusal| refusal.found)
    }

    #[test]
    fn the_image_is_found_in_any_case_as_go_finds_it() {
        for body in [
            r#"{"Image":"a:1","Env":null}"#,
            r#"{"image":"a:1"}"#,
            r#"{"IMAGE":"a:1"}"#,
            r#"{"\u0049mage":"a:1"}"#,
        ] {
            assert_eq!(images(body).unwrap().0.as_deref(), Some("a:1"), "{body}");
        }
    }

    #[test]
    fn an_image_that_stands_twice_is_refused_also_in_different_case() {
        for body in [
            r#"{"Image":"signed:1","image":"evil:1"}"#,
            r#"{"Image":"signed:1","Image":"evil:1"}"#,
            r#"{"Image":"signed:1","IMAGE":null}"#,
            r#"{"Image":"signed:1","\u0069mage":"evil:1"}"#,
        ] {
            assert!(images(body).unwrap_err().contains("twice"), "{body}");
        }
    }

    #[test]
    fn a_body_that_is_not_json_or_has_more_behind_it_is_refused() {
        for body in [
            "",
            "{",
            r#"{"Image":"a:1"}{"Image":"b:1"}"#,
            r#"{"Image":"a:1"}x"#,
            "[]",
            "1",
            r#"{"Image":7}"#,
            r#"{"Image":["a"]}"#,
        ] {
            assert!(images(body).is_err(), "{body}");
        }
        assert!(read(b"{\"Image\":\"\xff\"}").is_err());
        assert!(read(" ".repeat(5 << 20).as_bytes()).is_err());
    }

    #[test]
    fn no_image_and_an_empty_one_are_a_container_of_nothing() {
        for body in [
            "{}",
            r#"{"Image":""}"#,
            r#"{"Image":null,"HostConfig":null}"#,
            "null",
        ] {
            assert_eq!(images(body).unwrap(), (None, vec![]), "{body}");
        }
    }

    #[test]
    fn images_that_are_mounted_count_like_the_one_that_is_run() {
        let body = r#"{"Image":"a:1","HostConfig":{"Mounts":[{"Type":"bind","Source":"/x"},{"Type":"image","Source":"b:1"}]}}"#;
        assert_eq!(images(body).unwrap().1, ["b:1"]);
        // The long s is an s to Go.
        let folded = r#"{"Image":"a:1","ho\u017ftconfig":{"MOUNT\u017f":[{"type":"image","\u017fource":"b:1"}]}}"#;
        assert_eq!(images(folded).unwrap().1, ["b:1"]);
        for twice in [
            r#"{"HostConfig":{},"hostConfig":{}}"#,
            r#"{"HostConfig":{"Mounts":[],"mount\u017f":[]}}"#,
            r#"{"HostConfig":{"Mounts":[{"Type":"bind","type":"image","Source":"b"}]}}"#,
            r#"{"HostConfig":{"Mounts":{}}}"#,
            r#"{"HostConfig":[]}"#,
        ] {
            assert!(images(twice).is_err(), "{twice}");
        }
        let many = format!(
            r#"{{"HostConfig":{{"Mounts":[{}]}}}}"#,
            [r#"{"Type":"image","Source":"b"}"#; 17].join(",")
        );
        assert!(images(&many).is_err());
    }

    #[test]
    fn the_body_of_a_real_client_is_read() {
        let body = r#"{"Hostname":"","Cmd":["/bin/true"],"Image":"r.example/app:1","Volumes":{},"OnBuild":null,"Labels":{"a":"1","A":"2"},
            "HostConfig":{"Binds":null,"NetworkMode":"none","ConsoleSize":[24,80],"Memory":9007199254740991,"MemorySwappiness":-1,"Mounts":null},
            "NetworkingConfig":{"EndpointsConfig":{"none":{"GwPriority":0}}}}"#;
        assert_eq!(
            images(body).unwrap(),
            (Some("r.example/app:1".to_owned()), vec![])
        );
    }
}
