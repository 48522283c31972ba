//! The table of units: from one line each, the closed enums `Policy` and `Kind`.

macro_rules! units {
    ($( $variant:ident = $key:literal in $module:ident @ $rung:ident; )*) => {
        /// A policy as understood: valid by construction.
        #[derive(Clone, Debug, PartialEq, serde::Serialize)]
        #[serde(rename_all = "camelCase")]
        pub enum Policy {
            $( $variant($module::Policy), )*
            /// One of several of one kind, by the request: of that kind itself.
            #[serde(untagged)]
            Conditional($crate::conditional::Policy),
        }

        /// Which policy, without its content.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(usize)]
        pub enum Kind {
            $( $variant, )*
        }

        impl Kind {
            /// Every kind, in table order.
            pub const ALL: &'static [Kind] = &[ $( Kind::$variant, )* ];

            /// The key it has in configuration.
            pub fn key(self) -> &'static str {
                match self { $( Kind::$variant => $key, )* }
            }

            /// Where in the fixed order it runs.
            pub fn rung(self) -> $crate::rung::Rung {
                match self { $( Kind::$variant => $crate::rung::Rung::$rung, )* }
            }
        }

        impl Policy {
            pub fn kind(&self) -> Kind {
                match self {
                    $( Policy::$variant(_) => Kind::$variant, )*
                    Policy::Conditional(it) => it.kind(),
                }
            }
        }
    };
}
pub(crate) use units;
