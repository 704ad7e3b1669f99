import EspalierBasics
import TestSupport
import Testing

/// A store on the command line, and models for it that are like each other.
struct StoreScene {
  let folder: String
  var store: String { "\(folder)/shelf" }
  var objects: String { "\(store)/objects" }
  var incoming: String { "\(store)/incoming" }
  var output: String { "\(folder)/back" }
  func model(_ name: String) -> String { "\(folder)/\(name)" }

  /// Writes the models `base` and, made of it by changing the lowest bits, `tuned0` and so on.
  init(in folder: String, tuned count: Int, layers: Int = 2, width: Int = 256) throws {
    self.folder = folder
    try TestModel.layers(layers, width: width).write(to: "\(folder)/base", seed: 1)
    let base = try FileSystem.read("\(folder)/base/model.safetensors")
    let data = 8 + base[..<8].reversed().reduce(0) { $0 << 8 | Int($1) }
    for index in 0..<count {
      var generator = SeededGenerator(seed: UInt64(index + 100))
      var bytes = base
      for place in stride(from: data, to: bytes.count, by: 2) { bytes[place] ^= UInt8(generator.next() & 3) }
      let tuned = model("tuned\(index)")
      try FileSystem.createFolder(tuned)
      try FileSystem.write(bytes, to: "\(tuned)/model.safetensors")
      try FileSystem.write(Array("{\"index\": \(index)}".utf8), to: "\(tuned)/config.json")
    }
  }

  func addition(of name: String, as stored: String? = nil) -> [String] {
    ["store", "add", store, model(name), "--name", stored ?? name, "--threads", "2", "--quiet"]
  }

  func add(_ name: String, as stored: String? = nil) throws {
    let outcome = try Program.run(addition(of: name, as: stored))
    #expect(outcome.code == 0, "\(outcome)")
  }

  func run(_ verb: String, _ arguments: String...) throws {
    let outcome = try Program.run(["store", verb, store] + arguments)
    #expect(outcome.code == 0, "\(outcome)")
  }

  /// Models of the store.
  func names() throws -> [String] {
    let outcome = try Program.run("store", "list", store, "--json")
    #expect(outcome.code == 0, "\(outcome)")
    return try outcome.events.last?["models"]?.array?.compactMap { $0["name"]?.string } ?? []
  }

  /// Checks that the store is whole, and that models come back byte for byte.
  func expectWhole(_ models: [(stored: String, model: String)], _ place: Comment) throws {
    let checked = try Program.run("store", "check", store, "--quiet")
    #expect(checked.code == 0, "\(checked) \(place)")
    for (stored, name) in models {
      let got = try Program.run("store", "get", store, stored, "-o", output, "--quiet")
      #expect(got.code == 0, "\(got) \(place)")
      #expect(try differences(output, model(name)) == [], place)
      try? FileSystem.remove(output)
    }
  }

  /// Kills a run of the program when something has come about, or shortly after.
  ///
  /// - Returns: whether it had not ended before.
  func kill(
    _ arguments: [String], after microseconds: UInt32, _ generator: inout SeededGenerator, when hasBegun: () -> Bool
  ) throws -> Bool {
    let run = try Program(arguments)
    run.wait(until: hasBegun)
    run.pause(forMicroseconds: UInt32.random(in: 0...microseconds, using: &generator))
    run.killAtOnce()
    return try run.wait().code == nil
  }

  /// Bytes of all files of a folder and the folders in it, while they come and go.
  static func bytes(in folder: String) -> Int {
    ((try? FileSystem.list(folder)) ?? []).reduce(0) { sum, name in
      let path = "\(folder)/\(name)"
      return sum + (FileSystem.isFolder(path) ? bytes(in: path) : (try? File.reading(path).size()) ?? 0)
    }
  }

  /// How many files there are in a folder and the folders in it.
  static func count(in folder: String) -> Int {
    ((try? FileSystem.list(folder)) ?? []).reduce(0) { sum, name in
      let path = "\(folder)/\(name)"
      return sum + (FileSystem.isFolder(path) ? count(in: path) : 1)
    }
  }
}
