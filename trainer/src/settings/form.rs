//! The form of the [table](super::table) of settings: from its rows come both structs, open and
//! closed, and the options of the command line.
//!
//! A row's comment is the help. Then come the setting's name, of which flag and key in files follow;
//! its type; what closes it where nobody chose; its kind on the command line; and what else its
//! [`Field`](voice::options::Field) is told. What closes it:
//!
//! - `default(value)`: this value;
//! - `open("words")`: nothing, so that it is an `Option` in the closed settings too; what then holds
//!   is for the network and the run to say, and told in these words;
//! - `by(function, "words")`: what the function makes of all choices and the device;
//! - `pair(a, b)`: this pair of numbers; a list of two while it is open.
//!
//! A row that ends in `=> free` may change while a run is taken up again.

/// Makes [`Options`](super::Options), [`Settings`](super::Settings) and the table's rows.
macro_rules! settings {
    (
        $($heading:literal {
            $(
                $(#[doc = $help:literal])+
                $(#[serde($($serde:tt)*)])?
                $name:ident: $type:ty = $how:ident($($said:expr),*), $kind:expr
                    $(, $rule:ident($($ruled:expr),*))* $(=> $free:ident)?;
            )+
        })+
    ) => {
        /// Choices that may be open. A TOML file has the flags' names as keys.
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields)]
        pub struct Options {
            $($(
                $(#[doc = $help])+
                pub $name: Option<$type>,
            )+)+
        }

        /// Everything that decides a run, closed. Saved with the run and in every checkpoint.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub struct Settings {
            $($(
                $(#[doc = $help])+
                $(#[serde($($serde)*)])?
                pub $name: closed_type!($how $type),
            )+)+
        }

        impl Options {
            /// These choices, and `base`'s where they are open.
            pub(super) fn or(self, base: Self) -> Self {
                Self { $($($name: self.$name.or(base.$name),)+)+ }
            }
        }

        impl Settings {
            /// Closes what is open; `options` are in their ranges.
            pub(super) fn close(options: &Options, device: DeviceKind) -> Self {
                let given = options.clone();
                Self { $($($name: closed!($how(given.$name, options, device) $($said),*),)+)+ }
            }
        }

        /// The flags, and so the keys, that may change while a run is taken up again.
        pub(super) const FREE: &[&str] = &[$($($(free!($free $name),)?)+)+];

        /// A row for each setting.
        fn written() -> Vec<Row<Options>> {
            vec![$($(
                closed_words!(
                    Field::new(
                        flag(stringify!($name)),
                        $kind,
                        maybe!(Options: $name),
                        concat!($($help),+),
                    )
                    $(.$rule($($ruled),*))*,
                    $how $($said),*
                )
                .row()
                .under($heading),
            )+)+]
        }
    };
}

/// The type of a closed setting.
macro_rules! closed_type {
    (open $type:ty) => { Option<$type> };
    (pair $type:ty) => { (f64, f64) };
    ($how:ident $type:ty) => { $type };
}

/// The value of a closed setting.
macro_rules! closed {
    (default($choice:expr, $options:expr, $device:expr) $value:expr) => {
        $choice.unwrap_or($value)
    };
    (open($choice:expr, $options:expr, $device:expr) $($words:expr)?) => {
        $choice
    };
    (pair($choice:expr, $options:expr, $device:expr) $one:expr, $other:expr) => {
        match $choice.as_deref() {
            Some(&[one, other]) => (one, other),
            _ => ($one, $other),
        }
    };
    (by($choice:expr, $options:expr, $device:expr) $function:expr, $words:expr) => {
        $choice.unwrap_or_else(|| $function($options, $device))
    };
}

/// What the help says is there without the flag.
macro_rules! closed_words {
    ($field:expr, default $value:expr) => {
        $field.default($value)
    };
    ($field:expr, pair $one:expr, $other:expr) => {
        $field.default(vec![$one, $other])
    };
    ($field:expr, open) => {
        $field
    };
    ($field:expr, open $words:expr) => {
        $field.otherwise($words)
    };
    ($field:expr, by $function:expr, $words:expr) => {
        $field.otherwise($words)
    };
}

/// The name of a setting that is free.
macro_rules! free {
    (free $name:ident) => {
        stringify!($name)
    };
}

pub(super) use {closed, closed_type, closed_words, free, settings};
