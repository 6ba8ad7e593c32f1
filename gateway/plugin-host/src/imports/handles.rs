//! Numbers for things lent to a guest.

/// A slab: freed numbers are given out again. Bounded from outside: wasmtime counts the live handles of a store.
pub(crate) struct Handles<T> {
    slots: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Handles<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Handles<T> {
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        if let Some(number) = self.free.pop()
            && let Some(slot) = self.slots.get_mut(number as usize)
        {
            *slot = Some(value);
            return number;
        }
        let number = self.slots.len() as u32;
        self.slots.push(Some(value));
        number
    }

    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        self.slots.get(number as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.slots.get_mut(number as usize)?.as_mut()
    }

    pub(crate) fn remove(&mut self, number: u32) {
        drop(self.take(number));
    }

    pub(crate) fn take(&mut self, number: u32) -> Option<T> {
        let taken = self.slots.get_mut(number as usize).and_then(Option::take);
        if taken.is_some() {
            self.free.push(number);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::Handles;

    #[test]
    fn a_number_is_given_out_again_only_after_it_was_freed() {
        let mut handles = Handles::default();
        let (first, second) = (handles.insert("a"), handles.insert("b"));
        handles.remove(first);
        handles.remove(first);
        assert_eq!((handles.get(first), handles.get(second)), (None, Some(&"b")));
        assert_eq!(handles.insert("c"), first);
        assert_ne!(handles.insert("d"), first);
    }
}
