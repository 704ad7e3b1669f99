import EspalierBasics
import Synchronization
import Testing

@Suite struct MemoryTests {
  @Test(arguments: [
    ("0", 0), ("512", 512), ("4G", 4 << 30), ("4g", 4 << 30), ("4GiB", 4 << 30), ("4 GB", 4_000_000_000),
    ("1.5GiB", 3 << 29), ("512MB", 512_000_000), ("512M", 512 << 20), ("2k", 2048), ("2kB", 2000), ("1T", 1 << 40),
    ("1tb", 1_000_000_000_000), ("7b", 7), (".5k", 512),
  ])
  func sizesAsPeopleWriteThem(_ text: String, _ bytes: Int) {
    #expect(ByteCount.parse(text) == bytes)
  }

  @Test(arguments: [
    "", "G", "-4G", "4X", "4GG", "1e3", "nan", "inf", "1.2.3", "9e30", "99999999999999999999", "½", "٤",
  ])
  func whatIsNoSize(_ text: String) {
    #expect(ByteCount.parse(text) == nil)
  }

  @Test(arguments: [
    (0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (1_100_000_000, "1.10 GB"), (9_994, "9.99 kB"), (9_996, "10.0 kB"),
    (99_940, "99.9 kB"), (99_960, "100 kB"), (999_400, "999 kB"), (999_600, "1.00 MB"), (-2500, "-2.50 kB"),
    (5_000_000_000_000_000_000, "5000 PB"),
  ])
  func sizesInText(_ bytes: Int, _ text: String) {
    #expect(ByteCount.text(bytes) == text)
  }

  @Test(arguments: [
    (0, 0, "0"), (2.5, 0, "3"), (-2.5, 0, "-3"), (0.125, 2, "0.13"), (-0.001, 2, "0.00"), (12.3456, 3, "12.346"),
    (0.05, 1, "0.1"), (1e14, 1, "100000000000000.0"), (7, 9, "7.000000000"),
  ])
  func fixedDecimals(_ value: Double, _ digits: Int, _ text: String) {
    #expect(Decimals.text(value, digits) == text)
  }

  @Test func decimalsOfWhatHasNone() {
    #expect(Decimals.text(.nan, 2) == "nan")
    #expect(Decimals.text(.infinity, 2) == "inf")
    #expect(Decimals.text(1e300, 2) == "1e+300")
    #expect(Decimals.text(9e14, 9) == "900000000000000.0")
  }

  @Test func aJobLargerThanTheLedgerIsRefused() throws {
    let ledger = MemoryLedger(capacity: 1000)
    let problem = #expect(throws: Problem.self) { try ledger.withReservation(of: 1001) { () throws(Problem) in } }
    #expect(problem?.code == .memoryCeiling)
    #expect(problem?.message == "a job needs 1.00 kB and the ceiling leaves 1.00 kB")
    #expect(try ledger.withReservation(of: 1000) { () throws(Problem) in 7 } == 7)
  }

  @Test func theLargestLedgerDoesNotOverflow() throws {
    let ledger = MemoryLedger(capacity: .max)
    try ledger.withReservation(of: .max - 1) { () throws(Problem) in
      try ledger.withReservation(of: 1) { () throws(Problem) in }
    }
  }

  @Test func bytesComeBackAfterAnError() throws {
    let ledger = MemoryLedger(capacity: 10)
    for _ in 0..<3 {
      #expect(throws: Problem.self) {
        try ledger.withReservation(of: 10) { () throws(Problem) in throw Problem(.fileRead, "failed") }
      }
    }
  }

  @Test func reservationsNeverExceedTheCapacity() throws {
    let ledger = MemoryLedger(capacity: 100)
    let pool = WorkerPool(threads: 4)
    defer { pool.stop() }
    let used = Atomic<Int>(0)
    let peak = Atomic<Int>(0)
    try pool.forEach(500) { index throws(Problem) in
      let bytes = index % 60 + 1
      try ledger.withReservation(of: bytes) { () throws(Problem) in
        let now = used.add(bytes, ordering: .sequentiallyConsistent).newValue
        peak.max(now, ordering: .sequentiallyConsistent)
        used.subtract(bytes, ordering: .sequentiallyConsistent)
      }
    }
    #expect(peak.load(ordering: .relaxed) <= 100)
    #expect(used.load(ordering: .relaxed) == 0)
  }
}
