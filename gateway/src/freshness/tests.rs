use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use super::*;

/// Two files that must hold the same number. "bad" stands for anything that a loader refuses.
struct Numbers {
    loads: AtomicUsize,
    told: Mutex<Vec<String>>,
    /// Loads "slow" only once this has a permit.
    go: tokio::sync::Semaphore,
}

impl Numbers {
    fn new() -> Arc<Self> {
        let go = tokio::sync::Semaphore::new(0);
        Arc::new(Self { loads: AtomicUsize::new(0), told: Mutex::default(), go })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the files do not hold one number")]
struct NotOneNumber;

impl Load<u64> for Numbers {
    fn load(&self, files: Vec<Contents>) -> LoadFuture<'_, u64> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            let text = |file: &Contents| String::from_utf8(file.bytes.to_vec()).unwrap();
            let numbers: Vec<String> = files.iter().map(text).collect();
            let first = numbers[0].trim().to_owned();
            assert_ne!(first, "panic");
            if first == "slow" {
                let _permit = self.go.acquire().await.unwrap();
                return Ok(Arc::new(2));
            }
            let number = first.parse().map_err(|_| NotOneNumber)?;
            match numbers.iter().all(|number| number.trim() == first) {
                true => Ok(Arc::new(number)),
                false => Err(NotOneNumber.into()),
            }
        })
    }

    fn changed(&self, change: Change<'_, u64>) {
        self.told.lock().unwrap().push(match change {
            Change::Replaced { old, new } => format!("{old} -> {new}"),
            Change::Refused { kept, gone: false, .. } => format!("{kept} kept"),
            Change::Refused { kept, gone: true, .. } => format!("{kept} gone"),
            Change::Restored { value } => format!("{value} restored"),
        });
    }
}

/// Times updates, since one that stays half done for [`HALF_DONE`] (the writer starved, the disk stalled) excuses a
/// value from before it.
pub(crate) struct UpdateClock {
    began: Mutex<Instant>,
    was_slow: AtomicBool,
}

impl UpdateClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { began: Mutex::new(Instant::now()), was_slow: AtomicBool::new(false) })
    }

    pub(crate) fn begin(&self) {
        self.excuses();
        *self.began.lock().unwrap() = Instant::now();
    }

    pub(crate) fn excuses(&self) -> bool {
        // A little less: the clock starts when the update does, the reload's when it sees the update.
        let is_slow = self.began.lock().unwrap().elapsed() > HALF_DONE.mul_f64(0.9);
        self.was_slow.fetch_or(is_slow, Ordering::SeqCst) || is_slow
    }
}

struct Fixture {
    folder: tempfile::TempDir,
    numbers: Arc<Numbers>,
    fresh: Arc<Fresh<u64>>,
}

const WAIT: Duration = Duration::from_secs(20);

impl Fixture {
    async fn new() -> Self {
        Self::with(|files, _| Files::from(files)).await
    }

    /// As with a certificate and its key: the second file has to fit the first.
    async fn led() -> Self {
        Self::with(|files, folder| Files::from(files).led_by_first(Folders::default().at(folder))).await
    }

    async fn with(files: impl FnOnce(Vec<PathBuf>, &Path) -> Files) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<_> = ["a", "b"].iter().map(|name| folder.path().join(name)).collect();
        put(&paths, "1");
        let files = files(paths, folder.path());
        let numbers = Numbers::new();
        let fresh = Fresh::load(files, 100, numbers.clone(), Handle::current()).await.unwrap();
        let fixture = Self { folder, numbers, fresh };
        fixture.settle().await;
        fixture
    }

    /// Until a look costs nothing but its `stat`s.
    async fn settle(&self) {
        while self.fresh.has_changed() {
            self.fresh.ensure(WAIT).await;
        }
    }

    fn put(&self, text: &str) {
        put(self.fresh.files(), text);
    }

    fn put_one(&self, index: usize, text: &str) {
        put(&self.fresh.files()[index..=index], text);
    }

    fn loads(&self) -> usize {
        self.numbers.loads.load(Ordering::SeqCst)
    }

    fn told(&self) -> Vec<String> {
        std::mem::take(&mut self.numbers.told.lock().unwrap())
    }
}

/// By rename, one file after the other.
fn put(files: &[PathBuf], text: &str) {
    for file in files {
        let beside = file.with_extension("new");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(&beside, file).unwrap();
    }
}

fn set_modified(path: &Path, time: std::time::SystemTime) {
    std::fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

#[tokio::test]
async fn unchanged_files_are_not_read_again() {
    let fixture = Fixture::new().await;
    for _ in 0..100 {
        assert!(matches!(fixture.fresh.ensure(WAIT).await, Outcome::Unchanged));
    }
    assert_eq!(fixture.loads(), 1);
    assert_eq!(fixture.fresh.begun.load(Ordering::SeqCst), {
        fixture.fresh.ensure(WAIT).await;
        fixture.fresh.begun.load(Ordering::SeqCst)
    });
}

#[tokio::test]
async fn every_way_of_replacing_files_is_noticed() {
    let fixture = Fixture::new().await;
    let files = fixture.fresh.files().to_vec();
    let expect = async |number: u64| {
        assert!(matches!(fixture.fresh.ensure(WAIT).await, Outcome::Reloaded));
        assert_eq!(*fixture.fresh.current(), number);
    };

    put(&files, "2");
    expect(2).await;

    for file in &files {
        std::fs::write(file, "3").unwrap();
    }
    expect(3).await;

    // As `cp -p` does: the time of the last modification is that of the old file, and so is the size.
    let modified = std::fs::metadata(&files[0]).unwrap().modified().unwrap();
    for file in &files {
        std::fs::write(file, "4").unwrap();
        set_modified(file, modified);
    }
    expect(4).await;

    for file in &files {
        std::fs::remove_file(file).unwrap();
        std::fs::write(file, "5").unwrap();
    }
    expect(5).await;

    // As Kubernetes does: the files are links through a link to a dated folder, and that one link is replaced.
    let root = fixture.folder.path();
    for number in ["6", "7"] {
        std::fs::create_dir(root.join(number)).unwrap();
        put(&[root.join(number).join("a"), root.join(number).join("b")], number);
    }
    std::os::unix::fs::symlink("6", root.join("data")).unwrap();
    for name in ["a", "b"] {
        std::os::unix::fs::symlink(format!("data/{name}"), root.join("link")).unwrap();
        std::fs::rename(root.join("link"), root.join(name)).unwrap();
    }
    expect(6).await;
    std::os::unix::fs::symlink("7", root.join("new")).unwrap();
    std::fs::rename(root.join("new"), root.join("data")).unwrap();
    expect(7).await;
}

#[tokio::test]
async fn a_refused_state_keeps_the_last_good_value_and_is_not_judged_again() {
    let fixture = Fixture::new().await;
    fixture.put("bad");
    assert!(matches!(fixture.fresh.ensure(WAIT).await, Outcome::KeptLastGood(_)));
    fixture.settle().await;
    let loads = fixture.loads();
    for _ in 0..100 {
        assert!(matches!(fixture.fresh.ensure(WAIT).await, Outcome::KeptLastGood(_)));
    }
    assert_eq!(fixture.loads(), loads);
    assert_eq!(*fixture.fresh.current(), 1);
    assert_eq!(fixture.told(), ["1 kept"]);
    assert!(fixture.fresh.last_error().is_some());

    fixture.fresh.forget_failure();
    assert!(matches!(fixture.fresh.ensure(WAIT).await, Outcome::KeptLastGood(_)));
    assert_eq!(fixture.loads(), loads + 1);

    fixture.put("2");
    assert!(matches!(fixture.fresh.ensure(WAIT).await, Outcome::Reloaded));
    assert_eq!(fixture.told(), ["1 -> 2"]);
    assert!(fixture.fresh.last_error().is_none());
}

#[tokio::test]
async fn half_a_replacement_is_held_until_the_other_half_arrives() {
    let fixture = Fixture::new().await;
    fixture.put_one(0, "2");
    assert!(matches!(fixture.fresh.ensure(WAIT).await, Outcome::KeptLastGood(_)));
    assert_eq!(*fixture.fresh.current(), 1);
    fixture.put_one(1, "2");
    assert!(matches!(fixture.fresh.ensure(WAIT).await, Outcome::Reloaded));
    assert_eq!(*fixture.fresh.current(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_meets_a_half_done_update_gets_the_whole_one() {
    let fixture = Fixture::new().await;
    fixture.put_one(0, "2");
    let fresh = fixture.fresh.clone();
    let caller = tokio::spawn(async move { fresh.ensure(WAIT).await });
    // The reload has seen the half: its verdict is published.
    while fixture.fresh.last_error().is_none() {
        tokio::task::yield_now().await;
    }
    fixture.put_one(1, "2");
    let outcome = caller.await.unwrap();
    assert!(matches!(outcome, Outcome::Reloaded), "{outcome:?}");
    assert_eq!(*fixture.fresh.current(), 2);
}

#[tokio::test]
async fn a_missing_file_is_gone_and_its_return_is_noticed() {
    let fixture = Fixture::new().await;
    std::fs::rename(&fixture.fresh.files()[1], fixture.folder.path().join("aside")).unwrap();
    assert!(matches!(fixture.fresh.ensure(WAIT).await, Outcome::Gone(_)));
    assert!(fixture.fresh.is_gone());
    assert_eq!(*fixture.fresh.current(), 1);
    std::fs::rename(fixture.folder.path().join("aside"), &fixture.fresh.files()[1]).unwrap();
    assert!(matches!(fixture.fresh.ensure(WAIT).await, Outcome::Unchanged));
    assert_eq!(fixture.told(), ["1 gone", "1 restored"]);
    assert_eq!(fixture.loads(), 1, "the content is that of the value");
}

#[tokio::test]
async fn files_that_are_touched_or_copied_over_themselves_make_no_new_value() {
    let fixture = Fixture::new().await;
    let before = fixture.fresh.current();
    set_modified(&fixture.fresh.files()[0], std::time::SystemTime::UNIX_EPOCH);
    fixture.put_one(1, "1");
    assert!(matches!(fixture.fresh.ensure(WAIT).await, Outcome::Unchanged));
    assert!(Arc::ptr_eq(&before, &fixture.fresh.current()));
    assert_eq!(fixture.loads(), 1);
}

#[tokio::test]
async fn a_loader_that_panics_refuses_the_files_and_nothing_else() {
    let fixture = Fixture::new().await;
    fixture.put("panic");
    assert!(matches!(fixture.fresh.ensure(WAIT).await, Outcome::KeptLastGood(_)));
    fixture.put("2");
    assert!(matches!(fixture.fresh.ensure(WAIT).await, Outcome::Reloaded));
}

#[tokio::test]
async fn a_caller_who_cannot_wait_is_told_so() {
    let fixture = Fixture::new().await;
    fixture.put("slow");
    assert!(matches!(fixture.fresh.ensure(Duration::from_millis(1)).await, Outcome::TimedOut));
    assert_eq!(*fixture.fresh.current(), 1);
    fixture.numbers.go.add_permits(1000);
    assert!(matches!(fixture.fresh.ensure(WAIT).await, Outcome::Reloaded));
    assert_eq!(*fixture.fresh.current(), 2);
}

#[tokio::test]
async fn files_that_could_not_be_loaded_are_worth_another_try_once_they_change() {
    let folder = tempfile::tempdir().unwrap();
    let files = vec![folder.path().join("a")];
    put(&files, "bad");
    let numbers = Numbers::new();
    let mut refused = Fresh::load(files.clone(), 100, numbers.clone(), Handle::current()).await.unwrap_err();
    // One that was read in the tick of its last change is worth another try at once.
    while refused.is_worth_retrying() {
        refused = Fresh::load(files.clone(), 100, numbers.clone(), Handle::current()).await.unwrap_err();
    }
    put(&files, "1");
    assert!(refused.is_worth_retrying());
}

/// Those that a folder vouches for.
#[tokio::test]
async fn files_that_are_led_by_the_first_are_noticed_where_they_matter() {
    let fixture = Fixture::led().await;
    let second = fixture.fresh.files()[1].clone();
    let vouched = || async {
        while fixture.fresh.state.load().rest.0.load(Ordering::SeqCst) == 0 {
            fixture.fresh.ensure(WAIT).await;
        }
    };
    let mut number = 1u64;
    for put in [
        &(|number: u64| fixture.put(&number.to_string())) as &dyn Fn(u64),
        &|number| {
            fixture.fresh.files().iter().for_each(|file| std::fs::write(file, number.to_string()).unwrap())
        },
        &|number| {
            fixture.fresh.files().iter().rev().for_each(|file| {
                std::fs::write(file, number.to_string()).unwrap();
            })
        },
        &|number| {
            std::fs::remove_file(&second).unwrap();
            fixture.put(&number.to_string());
        },
    ] {
        vouched().await;
        number += 1;
        put(number);
        assert!(matches!(fixture.fresh.ensure(WAIT).await, Outcome::Reloaded));
        assert_eq!(*fixture.fresh.current(), number);
    }

    // In its place, and gone.
    vouched().await;
    fixture.put_one(1, "bad");
    assert!(matches!(fixture.fresh.ensure(WAIT).await, Outcome::KeptLastGood(_)));
    fixture.put_one(1, &number.to_string());
    vouched().await;
    std::fs::remove_file(&second).unwrap();
    assert!(matches!(fixture.fresh.ensure(WAIT).await, Outcome::Gone(_)));
    fixture.put_one(1, &number.to_string());

    // Written in place, it is left to the scan.
    vouched().await;
    std::fs::write(&second, "bad").unwrap();
    assert!(matches!(fixture.fresh.ensure(WAIT).await, Outcome::Unchanged));
    assert!(fixture.fresh.has_changed());

    // Behind a link nothing rests.
    fixture.put_one(1, &number.to_string());
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("b");
    std::fs::rename(&second, &target).unwrap();
    std::os::unix::fs::symlink(&target, &second).unwrap();
    vouched().await;
    std::fs::write(&target, "bad").unwrap();
    assert!(matches!(fixture.fresh.ensure(WAIT).await, Outcome::KeptLastGood(_)));
}

/// The claim at the top of the module, with updates as fast as they come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_a_value_older_than_the_last_update_that_was_complete_when_they_asked() {
    nobody_gets_an_older_value(Fixture::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_an_older_value_where_the_first_file_leads() {
    nobody_gets_an_older_value(Fixture::led().await).await;
}

async fn nobody_gets_an_older_value(fixture: Fixture) {
    const UPDATES: u64 = 2_000;
    let complete = Arc::new(AtomicU64::new(1));
    let clock = UpdateClock::new();
    let (files, done, updates) = (fixture.fresh.files().to_vec(), complete.clone(), clock.clone());
    let writer = std::thread::spawn(move || {
        for number in 2..=UPDATES {
            updates.begin();
            match number % 3 {
                // In place, with sizes and times alike: only the change time tells.
                0 => {
                    for file in &files {
                        std::fs::write(file, format!("{number:8}")).unwrap();
                        set_modified(file, std::time::SystemTime::UNIX_EPOCH);
                    }
                }
                1 => put(&files, &format!("{number:8}")),
                _ => {
                    for file in files.iter().rev() {
                        put(std::slice::from_ref(file), &format!("{number:8}"));
                    }
                }
            }
            done.store(number, Ordering::SeqCst);
            if number % 64 == 0 {
                // Until the stamps are settled, so that the fast path has its turn too.
                let written = file::file_clock();
                while file::file_clock() <= written.saturating_add(8_000_000) {
                    std::thread::yield_now();
                }
            }
        }
    });
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (fresh, complete, clock) = (fixture.fresh.clone(), complete.clone(), clock.clone());
        callers.spawn(async move {
            let mut calls = 0u64;
            while complete.load(Ordering::SeqCst) < UPDATES {
                let asked = complete.load(Ordering::SeqCst);
                let outcome = fresh.ensure(WAIT).await;
                let got = *fresh.current();
                let held = matches!(outcome, Outcome::KeptLastGood(_)) && clock.excuses();
                assert!(got >= asked || held, "asked after {asked}, got {got}: {outcome:?}");
                calls += 1;
            }
            calls
        });
    }
    let mut calls = 0;
    while let Some(finished) = callers.join_next().await {
        calls += finished.unwrap();
    }
    writer.join().unwrap();
    fixture.fresh.ensure(WAIT).await;
    assert_eq!(*fixture.fresh.current(), UPDATES);
    assert!(calls > 16);
}
