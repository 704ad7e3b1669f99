import EspalierBasics
import Synchronization
import Testing

@Suite struct WorkerPoolTests {
  private func withPool<T>(_ threads: Int, _ body: (WorkerPool) throws -> T) throws -> T {
    let pool = WorkerPool(threads: threads)
    defer { pool.stop() }
    return try body(pool)
  }

  /// Runs a loop and counts how often each index came.
  private func counts(_ count: Int, on pool: WorkerPool) throws -> [Int] {
    let seen = Mutex([Int](repeating: 0, count: count))
    try pool.forEach(count) { index throws(Problem) in seen.withLock { $0[index] += 1 } }
    return seen.withLock { $0 }
  }

  @Test(arguments: [1, 2, 3, 8], [0, 1, 2, 7, 1000]) func everyIndexOnce(_ threads: Int, _ count: Int) throws {
    try withPool(threads) { pool in
      let seen = try counts(count, on: pool)
      #expect(seen == [Int](repeating: 1, count: count))
    }
  }

  @Test func loopsInsideLoops() throws {
    try withPool(4) { pool in
      let seen = Mutex([Int](repeating: 0, count: 5 * 6 * 7))
      try pool.forEach(5) { a throws(Problem) in
        try pool.forEach(6) { b throws(Problem) in
          try pool.forEach(7) { c throws(Problem) in seen.withLock { $0[(a * 6 + b) * 7 + c] += 1 } }
        }
      }
      #expect(seen.withLock { $0 } == [Int](repeating: 1, count: 5 * 6 * 7))
    }
  }

  /// A thread that comes late to a loop must not keep its body alive: `forEach` would trap.
  @Test(arguments: [2, 3, 8]) func manyTinyLoops(_ threads: Int) throws {
    try withPool(threads) { pool in
      let sum = Atomic<Int>(0)
      for _ in 0..<20_000 {
        try pool.forEach(3) { index throws(Problem) in sum.add(index + 1, ordering: .relaxed) }
      }
      #expect(sum.load(ordering: .relaxed) == 20_000 * 6)
    }
  }

  /// Whichever thread comes first: an index below one that has thrown is not skipped.
  @Test func theErrorOfTheLowestIndex() throws {
    try withPool(4) { pool in
      for _ in 0..<200 {
        let problem = #expect(throws: Problem.self) {
          try pool.forEach(100) { index throws(Problem) in
            if index % 7 == 3 { throw Problem(.fileRead, "\(index)") }
          }
        }
        #expect(problem?.message == "3")
      }
    }
  }

  @Test func indicesAfterAnErrorAreSkippedAndThePoolLivesOn() throws {
    try withPool(2) { pool in
      let begun = Atomic<Int>(0)
      let problem = #expect(throws: Problem.self) {
        try pool.forEach(1_000_000) { index throws(Problem) in
          begun.add(1, ordering: .relaxed)
          if index == 5 { throw Problem(.fileRead, "five") }
        }
      }
      #expect(problem?.message == "five")
      #expect(begun.load(ordering: .relaxed) < 1_000_000)
      let seen = try counts(50, on: pool)
      #expect(seen == [Int](repeating: 1, count: 50))
    }
  }

  @Test func anErrorOfAnInnerLoopEndsTheOuter() throws {
    try withPool(3) { pool in
      let problem = #expect(throws: Problem.self) {
        try pool.forEach(4) { outer throws(Problem) in
          try pool.forEach(4) { inner throws(Problem) in
            if outer == 0 && inner == 2 { throw Problem(.fileRead, "inner") }
          }
        }
      }
      #expect(problem?.message == "inner")
    }
  }

  /// A body of index 0 waits for that of index 1: the loop ends only if two threads work on it.
  @Test func threadsWorkAtTheSameTime() throws {
    try withPool(2) { pool in
      let arrived = Atomic<Int>(0)
      try pool.forEach(2) { _ throws(Problem) in
        arrived.add(1, ordering: .relaxed)
        let deadline = Machine.monotonicSeconds + 30
        while arrived.load(ordering: .relaxed) < 2 && Machine.monotonicSeconds < deadline {}
        guard arrived.load(ordering: .relaxed) == 2 else { throw Problem(.fileRead, "alone") }
      }
    }
  }

  @Test func severalCallersShareAPool() async throws {
    let pool = WorkerPool(threads: 3)
    let totals = await withTaskGroup(of: Int.self) { group in
      for _ in 0..<4 {
        group.addTask {
          let sum = Atomic<Int>(0)
          for _ in 0..<500 {
            try? pool.forEach(10) { index throws(Problem) in sum.add(index, ordering: .relaxed) }
          }
          return sum.load(ordering: .relaxed)
        }
      }
      return await group.reduce(into: []) { $0.append($1) }
    }
    #expect(totals == [Int](repeating: 500 * 45, count: 4))
    pool.stop()
  }
}
