//! The rows: ways for a name to come to stand for something, most of them hostile.

use super::column::{Column, Docker, Said};
use super::host::{Host, Policy};
use crate::door::words;
use crate::image::Image;
use crate::lab::{Lab, write};

/// A row of the table.
pub(crate) struct Case {
    pub(crate) title: &'static str,
    /// Part of the names of its images.
    slug: &'static str,
    pub(crate) policy: Policy,
    pub(crate) danger: Danger,
    path: Path,
}

/// What must not be there when the path has been gone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Danger {
    /// It is wanted.
    None,
    /// The name, for anything but the image that is signed for it.
    Name,
    /// The name, for an image that is not built on the signed one.
    Base,
    /// The name.
    Anything,
    /// Its bytes, unpacked by a builder, which runs programs of them without a container of
    /// dockerd's.
    Unpacked,
}

#[derive(Clone, Copy)]
enum Path {
    Any(fn(&Try<'_>) -> Tried),
    /// One that only Docker has.
    Docker(fn(&Try<'_>, Docker) -> Tried),
    /// One that a dockerd has from 29.2 on.
    Grpc(fn(&Try<'_>, Docker) -> Tried),
}

/// One cell's images: they have tags and layers that no other cell's have.
pub(crate) struct Try<'host> {
    pub(crate) host: &'host Host<'host>,
    pub(crate) column: Column,
    /// The name that is asked for or attacked.
    pub(crate) name: String,
    /// What is signed for it.
    pub(crate) signed: Image,
    /// What was signed for it once, and now is for another name.
    pub(crate) older: Image,
    hostile: Image,
}

/// What came of it.
pub(crate) struct Tried {
    /// The name that was written, if it was.
    pub(crate) name: String,
    pub(crate) said: Said,
    /// How many records the audit log had before.
    pub(crate) records_before: usize,
}

pub(crate) fn cases() -> Vec<Case> {
    of_names().into_iter().chain(of_builds()).collect()
}

fn case(
    title: &'static str,
    slug: &'static str,
    policy: Policy,
    danger: Danger,
    path: Path,
) -> Case {
    Case {
        title,
        slug,
        policy,
        danger,
        path,
    }
}

/// Ways by which bytes come under a name.
fn of_names() -> Vec<Case> {
    vec![
        case(
            "pull: signed",
            "signed",
            Policy::Strict,
            Danger::None,
            Path::Any(signed),
        ),
        case(
            "pull: a tag that nobody signed",
            "unsigned",
            Policy::Strict,
            Danger::Name,
            Path::Any(unsigned),
        ),
        case(
            "pull: a signed tag moved to other bytes",
            "swapped",
            Policy::Strict,
            Danger::Name,
            Path::Any(swapped),
        ),
        case(
            "pull: a tag moved back to an older signed image, layers known",
            "older",
            Policy::Strict,
            Danger::Name,
            Path::Any(older),
        ),
        case(
            "pull: a tag moved to another configuration, layers known",
            "config",
            Policy::Strict,
            Danger::Name,
            Path::Any(config),
        ),
        case(
            "tag: the name given to an older signed image",
            "retag",
            Policy::Strict,
            Danger::Name,
            Path::Any(retag),
        ),
        case(
            "load, import: an archive that claims the name",
            "load",
            Policy::Strict,
            Danger::Name,
            Path::Any(load),
        ),
        case(
            "load, import: another configuration, layers known",
            "loadconfig",
            Policy::Strict,
            Danger::Name,
            Path::Any(load_config),
        ),
        case(
            "`docker import`: a file system",
            "import",
            Policy::Strict,
            Danger::Name,
            Path::Docker(import),
        ),
        case(
            "commit: a new file",
            "commit",
            Policy::Strict,
            Danger::Name,
            Path::Docker(commit),
        ),
        case(
            "commit: another configuration",
            "commitconfig",
            Policy::Strict,
            Danger::Name,
            Path::Docker(commit_config),
        ),
    ]
}

/// Builds, and what a sweep removes.
fn of_builds() -> Vec<Case> {
    vec![
        case(
            "build",
            "build",
            Policy::Strict,
            Danger::Anything,
            Path::Docker(build_on_signed),
        ),
        case(
            "build, `[local]` allowed: `FROM` a signed image",
            "fromsigned",
            Policy::Local,
            Danger::None,
            Path::Docker(build_on_signed),
        ),
        case(
            "… `FROM` a tag that nobody signed",
            "fromunsigned",
            Policy::Local,
            Danger::Anything,
            Path::Docker(build_on_unsigned),
        ),
        case(
            "… `FROM` a signed tag moved to other bytes",
            "fromswapped",
            Policy::Local,
            Danger::Base,
            Path::Docker(build_on_swapped),
        ),
        case(
            "… `FROM` bytes that nobody signed, by digest",
            "fromdigest",
            Policy::Local,
            Danger::Anything,
            Path::Docker(build_by_digest),
        ),
        case(
            "… `FROM` the same registry by another name",
            "fromalias",
            Policy::Local,
            Danger::Anything,
            Path::Docker(build_by_alias),
        ),
        case(
            "… `COPY --from` an image that nobody signed",
            "copyfrom",
            Policy::Local,
            Danger::Anything,
            Path::Docker(build_copies),
        ),
        case(
            "… `# syntax` of an image that nobody signed",
            "syntax",
            Policy::Local,
            Danger::Unpacked,
            Path::Docker(build_by_syntax),
        ),
        case(
            "build by gRPC on dockerd's socket: `FROM` the same bytes by digest",
            "grpc",
            Policy::Strict,
            Danger::Unpacked,
            Path::Grpc(build_by_grpc),
        ),
        case(
            "tag, as above, `[sweep] action = \"remove\"`",
            "removed",
            Policy::Remove,
            Danger::Name,
            Path::Any(retag),
        ),
    ]
}

impl Case {
    pub(crate) fn images<'host>(&self, host: &'host Host<'host>, column: Column) -> Try<'host> {
        let name = host.lab.name(
            &host.repository,
            &format!("{}-{}", self.slug, column.slug()),
        );
        let image = |what: &str| Image::waiting_alone(&format!("{what} {name}"));
        let (signed, older, hostile) = (image("signed"), image("older"), image("hostile"));
        Try {
            host,
            column,
            name,
            signed,
            older,
            hostile,
        }
    }

    /// `None`: there is no such path.
    pub(crate) fn run(&self, images: &Try<'_>) -> Option<Tried> {
        match self.path {
            Path::Any(run) => Some(run(images)),
            Path::Docker(run) => Some(run(images, images.column.docker()?)),
            Path::Grpc(run) => Some(run(
                images,
                images
                    .column
                    .docker()
                    .filter(|docker| docker.answers_grpc())?,
            )),
        }
    }
}

impl<'host> Try<'host> {
    fn lab(&self) -> &'host Lab {
        self.host.lab
    }

    /// A second name that the signed image has: its layers stay known whatever becomes of the
    /// first.
    pub(crate) fn second_name(&self) -> String {
        format!("{}-second", self.name)
    }

    /// The name that the older image has.
    pub(crate) fn old_name(&self) -> String {
        format!("{}-old", self.name)
    }

    /// Lets the registry show `image` under the name.
    fn push(&self, image: &Image) {
        self.lab().push(image, &self.name);
    }

    /// Lets the signed image come in by its second name.
    fn bring_signed(&self) -> String {
        self.bring(&self.signed, self.second_name())
    }

    fn bring_older(&self) -> String {
        self.bring(&self.older, self.old_name())
    }

    fn bring(&self, image: &Image, name: String) -> String {
        self.lab().push(image, &name);
        self.column
            .pull(self.lab(), &name)
            .unwrap_or_else(|words| panic!("{name} should have come in: {words}"));
        name
    }

    fn attempt(&self, name: &str, attempt: impl FnOnce() -> Said) -> Tried {
        let records_before = self.host.records().len();
        Tried {
            name: name.to_owned(),
            said: attempt(),
            records_before,
        }
    }

    fn pull(&self) -> Tried {
        self.attempt(&self.name, || self.column.pull(self.lab(), &self.name))
    }
}

fn signed(images: &Try<'_>) -> Tried {
    images.push(&images.signed);
    images.pull()
}

fn unsigned(images: &Try<'_>) -> Tried {
    let name = format!("{}-unsigned", images.name);
    images.lab().push(&images.hostile, &name);
    images.attempt(&name, || images.column.pull(images.lab(), &name))
}

fn swapped(images: &Try<'_>) -> Tried {
    images.push(&images.signed);
    images.push(&images.hostile);
    images.pull()
}

fn older(images: &Try<'_>) -> Tried {
    images.bring_older();
    images.bring_signed();
    images.push(&images.older);
    images.pull()
}

fn config(images: &Try<'_>) -> Tried {
    images.bring_signed();
    images.push(&images.signed.configured_otherwise());
    images.pull()
}

fn retag(images: &Try<'_>) -> Tried {
    let old = images.bring_older();
    images.attempt(&images.name, || {
        images.column.tag(images.lab(), &old, &images.name)
    })
}

fn load(images: &Try<'_>) -> Tried {
    images.attempt(&images.name, || {
        images
            .column
            .load(images.lab(), &images.hostile, &images.name)
    })
}

fn load_config(images: &Try<'_>) -> Tried {
    images.bring_signed();
    let image = images.signed.configured_otherwise();
    images.attempt(&images.name, || {
        images.column.load(images.lab(), &image, &images.name)
    })
}

/// A file system becomes an image under the name.
fn import(images: &Try<'_>, docker: Docker) -> Tried {
    let layer = images.lab().root.join("paths/layer.tar");
    write(&layer, &images.hostile.layers()[0].bytes);
    images.attempt(&images.name, || {
        words(
            docker
                .client(images.lab())
                .arg("import")
                .arg(layer)
                .arg(&images.name),
        )
    })
}

/// A container of the signed image becomes an image under its name.
fn commit(images: &Try<'_>, docker: Docker) -> Tried {
    let container = container(images, docker);
    let file = images.lab().root.join("paths/file");
    write(&file, &images.name);
    words(
        docker
            .client(images.lab())
            .arg("cp")
            .arg(file)
            .arg(format!("{container}:/file")),
    )
    .unwrap();
    images.attempt(&images.name, || {
        words(
            docker
                .client(images.lab())
                .args(["commit", &container, &images.name]),
        )
    })
}

fn commit_config(images: &Try<'_>, docker: Docker) -> Tried {
    let container = container(images, docker);
    let change = [
        "commit",
        "--change",
        "ENV LD_PRELOAD=/salt",
        &container,
        &images.name,
    ];
    images.attempt(&images.name, || {
        words(docker.client(images.lab()).args(change))
    })
}

fn container(images: &Try<'_>, docker: Docker) -> String {
    docker.create(images.lab(), &images.bring_signed()).unwrap()
}

fn build_on_signed(images: &Try<'_>, docker: Docker) -> Tried {
    images.push(&images.signed);
    build(images, docker, &images.name)
}

fn build_on_unsigned(images: &Try<'_>, docker: Docker) -> Tried {
    let name = format!("{}-unsigned", images.name);
    images.lab().push(&images.hostile, &name);
    build(images, docker, &name)
}

fn build_on_swapped(images: &Try<'_>, docker: Docker) -> Tried {
    images.push(&images.signed);
    images.push(&images.hostile);
    build(images, docker, &images.name)
}

fn build_by_digest(images: &Try<'_>, docker: Docker) -> Tried {
    let name = format!("{}-unsigned", images.name);
    images.lab().push(&images.hostile, &name);
    build(
        images,
        docker,
        &format!(
            "{}@{}",
            name.rsplit_once(':').unwrap().0,
            images.hostile.digest()
        ),
    )
}

/// Past the API, and so past every plugin.
fn build_by_grpc(images: &Try<'_>, docker: Docker) -> Tried {
    let name = format!("{}-unsigned", images.name);
    images.lab().push(&images.hostile, &name);
    let base = format!(
        "{}@{}",
        name.rsplit_once(':').unwrap().0,
        images.hostile.digest()
    );
    let context = images.lab().root.join("paths/context");
    write(
        &context.join("Dockerfile"),
        format!("FROM {base}\nCOPY file /file\n"),
    );
    write(&context.join("file"), &name);
    let builder = docker.service();
    let buildx = |words: &[&str]| {
        let mut client = docker.client(images.lab());
        client.arg("buildx").args(words);
        client
    };
    let _ = words(&mut buildx(&["rm", builder]));
    words(&mut buildx(&[
        "create",
        "--driver",
        "remote",
        "--name",
        builder,
        &docker.host(images.lab()),
    ]))
    .unwrap();
    let built = format!("built-{}:1", name.rsplit(':').next().unwrap());
    let output = format!("type=moby,name=docker.io/library/{built}");
    images.attempt(&built, || {
        words(buildx(&["build", "--builder", builder, "--output", &output]).arg(context))
    })
}

/// No file of hosts and no rule knows the registry by it.
fn build_by_alias(images: &Try<'_>, docker: Docker) -> Tried {
    let name = format!("{}-unsigned", images.name);
    images.lab().push(&images.hostile, &name);
    build(images, docker, &name.replacen("127.0.0.1", "localhost", 1))
}

fn build_copies(images: &Try<'_>, docker: Docker) -> Tried {
    images.push(&images.signed);
    let name = format!("{}-unsigned", images.name);
    images.lab().push(&images.hostile, &name);
    build_of(
        images,
        docker,
        &name,
        &format!("FROM {}\nCOPY --from={name} /wait /copied\n", images.name),
    )
}

/// An image whose program isn't there: that `BuildKit` is about to run it is all that shows.
fn build_by_syntax(images: &Try<'_>, docker: Docker) -> Tried {
    images.push(&images.signed);
    let name = format!("{}-unsigned", images.name);
    images
        .lab()
        .push(&Image::manifest(&format!("frontend {name}")), &name);
    build_of(
        images,
        docker,
        &name,
        &format!("# syntax={name}\nFROM {}\nCOPY file /file\n", images.name),
    )
}

fn build(images: &Try<'_>, docker: Docker, base: &str) -> Tried {
    build_of(
        images,
        docker,
        base,
        &format!("FROM {base}\nCOPY file /file\n"),
    )
}

fn build_of(images: &Try<'_>, docker: Docker, base: &str, dockerfile: &str) -> Tried {
    let context = images.lab().root.join("paths/context");
    write(&context.join("Dockerfile"), dockerfile);
    write(&context.join("file"), base);
    let built = format!("built-{}:1", base.rsplit(':').next().unwrap());
    images.attempt(&built, || {
        words(
            docker
                .client(images.lab())
                .args(["build", "--pull", "--tag", &built])
                .arg(context),
        )
    })
}
