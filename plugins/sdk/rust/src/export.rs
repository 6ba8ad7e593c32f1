//! From a type with hooks to the exports of a component.

use core::cell::RefCell;

/// Exports a policy's hooks: `export!(MyPolicy: select, configure)`.
///
/// The hooks are `select`, `validate`, `admit` and `configure`, for the traits of those names; the component exports those
/// in the list and no others. With `configure` the policy is made by [`Configure`](crate::Configure), else by [`Default`].
///
/// A panic is written to the log at error level and then traps, which ends the call without a verdict. A policy that
/// is `#![cfg_attr(target_arch = "wasm32", no_std)]` saves the 9 KB that panic messages take with
/// `export!(MyPolicy: select; panic = trap)`: the call ends the same way, the log line is missing.
///
/// Outside WebAssembly the macro only checks that the traits are implemented.
#[macro_export]
macro_rules! export {
    ($policy:ty: $($hook:ident),+ $(,)?) => {
        $crate::__export!(@check $policy; $($hook)+);
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            fn prepare() {
                ::std::panic::set_hook(::std::boxed::Box::new(|panic| $crate::log::error!("{panic}")));
            }
            $crate::__export!(@exports $policy; $($hook)+);
        };
    };
    ($policy:ty: $($hook:ident),+; panic = trap) => {
        $crate::__export!(@check $policy; $($hook)+);
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            #[panic_handler]
            fn panic(_: &::core::panic::PanicInfo<'_>) -> ! {
                ::core::arch::wasm32::unreachable()
            }
            fn prepare() {}
            $crate::__export!(@exports $policy; $($hook)+);
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    (@check $policy:ty; $($hook:ident)+) => {
        const _: () = { $( $crate::__export!(@check_one $policy; $hook); )+ };
    };
    (@check_one $policy:ty; select) => { const fn select<T: $crate::Select>() {} select::<$policy>(); };
    (@check_one $policy:ty; validate) => { const fn validate<T: $crate::Validate>() {} validate::<$policy>(); };
    (@check_one $policy:ty; admit) => { const fn admit<T: $crate::Admit>() {} admit::<$policy>(); };
    (@check_one $policy:ty; configure) => { const fn configure<T: $crate::Configure>() {} configure::<$policy>(); };
    (@check_one $policy:ty; $other:ident) => {
        ::core::compile_error!(::core::concat!(
            "unknown hook `", ::core::stringify!($other), "`: there are select, validate, admit and configure"
        ));
    };

    (@exports $policy:ty; $($hook:ident)+) => {
        struct Exported;
        static POLICY: $crate::Slot<$policy> = $crate::Slot::new(prepare);
        fn initial() -> $policy {
            $crate::__export!(@initial $policy; $($hook)+)
        }
        $( $crate::__export!(@hook $policy; $hook); )+
    };

    (@initial $policy:ty; configure $($rest:ident)*) => { ::core::panic!("a hook was called before `configure`") };
    (@initial $policy:ty; $other:ident $($rest:ident)*) => { $crate::__export!(@initial $policy; $($rest)*) };
    (@initial $policy:ty;) => { <$policy as ::core::default::Default>::default() };

    (@hook $policy:ty; select) => {
        impl $crate::bindings::select::exports::handfast::policy::select::Guest for Exported {
            fn select(connection: &$crate::Connection, hello: &$crate::ClientHello) -> $crate::Decision {
                POLICY.with(initial, |policy| $crate::Select::select(policy, connection, hello))
            }
        }
        $crate::bindings::select::export!(Exported with_types_in $crate::bindings::select);
    };
    (@hook $policy:ty; validate) => {
        impl $crate::bindings::validate::exports::handfast::policy::validate::Guest for Exported {
            fn validate(
                connection: &$crate::Connection,
                hello: &$crate::ClientHello,
                chain: &$crate::PeerChain,
            ) -> $crate::__export!(@accepted) {
                POLICY.with(initial, |policy| $crate::Validate::validate(policy, connection, hello, chain))
            }
        }
        $crate::bindings::validate::export!(Exported with_types_in $crate::bindings::validate);
    };
    (@hook $policy:ty; admit) => {
        impl $crate::bindings::admit::exports::handfast::policy::admit::Guest for Exported {
            fn admit(certificate: &$crate::Certificate) -> $crate::__export!(@done) {
                POLICY.with(initial, |policy| $crate::Admit::admit(policy, certificate))
            }
        }
        $crate::bindings::admit::export!(Exported with_types_in $crate::bindings::admit);
    };
    (@hook $policy:ty; configure) => {
        impl $crate::bindings::configure::exports::handfast::policy::configure::Guest for Exported {
            fn configure(config: $crate::bindings::String) -> $crate::__export!(@done) {
                POLICY.set(|| <$policy as $crate::Configure>::configure(&config))
            }
        }
        $crate::bindings::configure::export!(Exported with_types_in $crate::bindings::configure);
    };

    (@accepted) => { ::core::result::Result<$crate::bindings::Vec<$crate::Attribute>, $crate::Rejection> };
    (@done) => { ::core::result::Result<(), $crate::bindings::String> };
}

/// Where an instance keeps its policy. Used by [`export!`](crate::export) only, with one in each component.
#[doc(hidden)]
pub struct Slot<P> {
    policy: RefCell<Option<P>>,
    prepare: fn(),
}

// SAFETY: a component runs on one thread. Elsewhere `export!` makes no slot.
#[cfg(target_arch = "wasm32")]
unsafe impl<P> Sync for Slot<P> {}

impl<P> Slot<P> {
    /// `prepare` runs before the first hook.
    pub const fn new(prepare: fn()) -> Self {
        Self { policy: RefCell::new(None), prepare }
    }

    /// Makes the policy, or another in its place.
    pub fn set<E>(&self, configure: impl FnOnce() -> Result<P, E>) -> Result<(), E> {
        let mut policy = self.policy.borrow_mut();
        if policy.is_none() {
            (self.prepare)();
        }
        *policy = Some(configure()?);
        Ok(())
    }

    /// Runs a hook.
    pub fn with<R>(&self, initial: fn() -> P, hook: impl FnOnce(&P) -> R) -> R {
        let mut policy = self.policy.borrow_mut();
        let policy = policy.get_or_insert_with(|| {
            (self.prepare)();
            initial()
        });
        hook(policy)
    }
}
