//! Enums of stable codes, each defined in one table.

/// Defines an enum of stable codes from a table with one code a line: its variant, its name in logs
/// and `--json`, and its meaning as a sentence without its full stop. All that a code needs is in its
/// line, so a code without a name or a meaning does not compile. `ALL` lists every code; the tests
/// compare it with the documentation.
///
/// ```
/// rootpin_trust::codes! {
///     /// Weather.
///     pub enum Weather;
///     Rain = "rain", "water falls";
///     Sun = "sun", "the sky is blue";
/// }
///
/// assert_eq!(Weather::ALL, [Weather::Rain, Weather::Sun]);
/// assert_eq!(Weather::Sun.to_string(), "sun");
/// assert_eq!(Weather::Sun.meaning(), "the sky is blue");
/// ```
#[macro_export]
macro_rules! codes {
    (
        $(#[$documentation:meta])*
        $visibility:vis enum $code:ident;
        $($variant:ident = $name:literal, $meaning:literal;)*
    ) => {
        $(#[$documentation])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $visibility enum $code {
            $(#[doc = concat!("`", $name, "`: ", $meaning, ".")] $variant,)*
        }

        impl $code {
            /// Every code, in the order of the table.
            #[allow(dead_code, reason = "some tables are read by tests alone")]
            $visibility const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable name.
            #[must_use]
            $visibility fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The meaning, a sentence without its full stop.
            #[must_use]
            #[allow(dead_code, reason = "some tables are read by tests alone")]
            $visibility fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }

        impl ::std::fmt::Display for $code {
            fn fmt(&self, formatter: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                formatter.pad(self.as_str())
            }
        }
    };
}
