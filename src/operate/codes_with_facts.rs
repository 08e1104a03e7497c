//! Enums of stable codes whose table says more of a code than its name and its meaning.

/// Defines such an enum, as [`rootpin_trust::codes`] does, from a table with the facts of a code at
/// the end of its line. `facts` returns them.
macro_rules! codes_with_facts {
    (
        $(#[$documentation:meta])*
        $visibility:vis enum $code:ident: $facts:ty;
        $($variant:ident = $name:literal, $meaning:literal, $fact:expr;)*
    ) => {
        rootpin_trust::codes! {
            $(#[$documentation])*
            $visibility enum $code;
            $($variant = $name, $meaning;)*
        }

        impl $code {
            /// Whatever else the table says of the code.
            #[must_use]
            $visibility fn facts(self) -> $facts {
                match self { $(Self::$variant => $fact,)* }
            }
        }
    };
}

pub(crate) use codes_with_facts;
