//! A sound component that is no policy: it exports something else.

wit_bindgen::generate!({
    inline: "
        package somebody:other@1.0.0;

        interface greeter {
            greet: func(name: string) -> string;
        }

        world greeting {
            export greeter;
        }
    ",
    world: "greeting",
});

struct Greeter;

impl exports::somebody::other::greeter::Guest for Greeter {
    fn greet(name: String) -> String {
        name
    }
}

#[cfg(target_arch = "wasm32")]
export!(Greeter);
