import Synchronization

#if canImport(Darwin)
  internal import Darwin
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Glibc
#endif

/// Threads that share parallel loops, including loops inside loops.
///
/// `forEach` runs its body once for every index. The calling thread works too; idle threads join. A body may call
/// `forEach` again: threads that find no index left in the outer loop help with the inner ones, so a last large tensor
/// is finished by all of them. Which thread runs an index is arbitrary: bodies must not let it matter.
///
/// A loop's round trip costs a few microseconds: threads spin for a moment before they sleep.
public final class WorkerPool: @unchecked Sendable {
  public let threadCount: Int

  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private let workArrived: UnsafeMutablePointer<pthread_cond_t>
  private let loopFinished: UnsafeMutablePointer<pthread_cond_t>
  // Under the mutex: loops that may have indices left, outermost first, and the number of threads asleep.
  private var openLoops: [Loop] = []
  private var sleepers = 0
  private var stopping = false
  private var threads: [pthread_t] = []
  /// Changes with every loop that opens, so that spinning threads need no lock.
  private let epoch = Atomic<Int>(0)

  /// About 50 microseconds. Sleeping and waking cost 10; a loop that follows while threads spin begins on the others after
  /// 2 microseconds instead of 13. A network that generates text opens a hundred loops a token with short serial work
  /// in between, such as choosing the token, which should not put the others to sleep.
  private static let spins = 200_000

  /// - Parameter threads: threads in all, the caller's included; at least 1.
  public init(threads count: Int) {
    threadCount = max(1, count)
    mutex = .allocate(capacity: 1)
    workArrived = .allocate(capacity: 1)
    loopFinished = .allocate(capacity: 1)
    pthread_mutex_init(mutex, nil)
    pthread_cond_init(workArrived, nil)
    pthread_cond_init(loopFinished, nil)
    for _ in 1..<threadCount { startThread() }
  }

  /// Ends the threads. The pool must be idle.
  public func stop() {
    pthread_mutex_lock(mutex)
    stopping = true
    epoch.add(1, ordering: .releasing)
    pthread_cond_broadcast(workArrived)
    let running = threads
    threads = []
    pthread_mutex_unlock(mutex)
    for thread in running { pthread_join(thread, nil) }
  }

  deinit {
    pthread_cond_destroy(loopFinished)
    pthread_cond_destroy(workArrived)
    pthread_mutex_destroy(mutex)
    loopFinished.deallocate()
    workArrived.deallocate()
    mutex.deallocate()
  }

  /// Runs `body(0)`, ... `body(count - 1)`, several at once, and returns when all are done.
  ///
  /// - Throws: the error of the lowest index that throws, whatever the threads do: indices are begun in order, and once
  ///   one has thrown only higher ones are skipped.
  public func forEach(_ count: Int, _ body: (Int) throws(Problem) -> Void) throws(Problem) {
    if count == 1 || threadCount == 1 {
      for index in 0..<max(0, count) { try body(index) }
      return
    }
    guard count > 0 else { return }
    let failure: (index: Int, problem: Problem)? = withoutActuallyEscaping(body) { body in
      let loop = Loop(count: count, body: body)
      open(loop)
      run(loop)
      close(loop)
      return loop.failure
    }
    if let failure { throw failure.problem }
  }

  // MARK: - Loops

  private final class Loop: @unchecked Sendable {
    let count: Int
    // Read only by who has taken an index, so not after the last one finished.
    private var body: ((Int) throws(Problem) -> Void)?
    let next = Atomic<Int>(0)
    let finished = Atomic<Int>(0)
    private let firstFailure = Mutex<(index: Int, problem: Problem)?>(nil)
    private let lowestFailure = Atomic<Int>(.max)

    init(count: Int, body: @escaping (Int) throws(Problem) -> Void) {
      self.count = count
      self.body = body
    }

    var failure: (index: Int, problem: Problem)? { firstFailure.withLock { $0 } }
    var isFinished: Bool { finished.load(ordering: .acquiring) == count }
    var hasMore: Bool { next.load(ordering: .relaxed) < count }

    /// Not inlined, so that its hold on `body` ends before the index counts as finished.
    @inline(never)
    func run(_ index: Int) {
      guard let body, index < lowestFailure.load(ordering: .relaxed) else { return }
      do { try body(index) } catch {
        lowestFailure.min(index, ordering: .relaxed)
        firstFailure.withLock { current in
          if index < current?.index ?? .max { current = (index, error) }
        }
      }
    }

    /// Lets go of the body once all have finished: a thread that came too late may hold the loop a while longer, and
    /// the body must not outlive `forEach`.
    func releaseBody() { body = nil }
  }

  private func open(_ loop: Loop) {
    pthread_mutex_lock(mutex)
    openLoops.append(loop)
    epoch.add(1, ordering: .releasing)
    if sleepers > 0 { pthread_cond_broadcast(workArrived) }
    pthread_mutex_unlock(mutex)
  }

  /// Takes indices until none is left.
  private func run(_ loop: Loop) {
    while true {
      let index = loop.next.add(1, ordering: .relaxed).oldValue
      guard index < loop.count else { return }
      loop.run(index)
      if loop.finished.add(1, ordering: .acquiringAndReleasing).newValue == loop.count {
        pthread_mutex_lock(mutex)
        pthread_cond_broadcast(loopFinished)
        pthread_mutex_unlock(mutex)
      }
    }
  }

  /// Waits for the indices that other threads have taken.
  private func close(_ loop: Loop) {
    var spin = 0
    while !loop.isFinished && spin < Self.spins { spin += 1 }
    pthread_mutex_lock(mutex)
    openLoops.removeAll { $0 === loop }
    while !loop.isFinished { pthread_cond_wait(loopFinished, mutex) }
    pthread_mutex_unlock(mutex)
    loop.releaseBody()
  }

  // MARK: - Threads

  private func startThread() {
    let pool = Unmanaged.passRetained(self)
    #if canImport(Darwin)
      var thread: pthread_t?
    #else
      var thread = pthread_t()
    #endif
    let result = pthread_create(
      &thread, nil,
      { argument in
        #if canImport(Darwin)
          let argument: UnsafeMutableRawPointer? = argument
        #endif
        guard let argument else { return nil }
        Unmanaged<WorkerPool>.fromOpaque(argument).takeRetainedValue().work()
        return nil
      }, pool.toOpaque())
    // With fewer threads than asked for, loops are slower but complete: the caller always works.
    guard result == 0 else {
      pool.release()
      return
    }
    #if canImport(Darwin)
      if let thread { threads.append(thread) }
    #else
      threads.append(thread)
    #endif
  }

  private func work() {
    while true {
      let seen = epoch.load(ordering: .acquiring)
      pthread_mutex_lock(mutex)
      if stopping {
        pthread_mutex_unlock(mutex)
        return
      }
      let loop = openLoops.first { $0.hasMore }
      pthread_mutex_unlock(mutex)
      if let loop {
        run(loop)
      } else {
        waitForWork(after: seen)
      }
    }
  }

  private func waitForWork(after seen: Int) {
    for _ in 0..<Self.spins where epoch.load(ordering: .acquiring) != seen { return }
    pthread_mutex_lock(mutex)
    sleepers += 1
    while epoch.load(ordering: .relaxed) == seen && !stopping { pthread_cond_wait(workArrived, mutex) }
    sleepers -= 1
    pthread_mutex_unlock(mutex)
  }
}
