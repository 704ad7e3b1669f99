internal import EspalierBasics

// The older form, little-endian: the number of entries; for each the length of its name, the name, the number of calls,
// the number of values, and values in float32, each a mean times the calls; then the last chunk, the length of a path and
// the path of the text. The end may be missing.
extension ImportanceMatrix {
  init(legacy bytes: [UInt8]) throws(Problem) {
    var place = 0
    func problem(_ what: String) -> Problem {
      Problem(.importanceFormat, what, remedy: "The file is cut short, or no importance matrix.", byteOffset: place)
    }
    func u32() throws(Problem) -> UInt32 {
      guard bytes.count - place >= 4 else { throw problem("the file ends within a number") }
      defer { place += 4 }
      return (0..<4).reduce(0) { $0 | UInt32(bytes[place + $1]) << (8 * UInt32($1)) }
    }
    func count(_ what: String, each size: Int, from least: Int) throws(Problem) -> Int {
      let value = Int(Int32(bitPattern: try u32()))
      guard value >= least, value <= (bytes.count - place) / size else { throw problem("\(value) \(what) cannot be") }
      return value
    }
    var names: Set<ExactString> = []
    entries = []
    let number = try count("entries", each: 12, from: 1)
    for _ in 0..<number {
      let length = try count("bytes of a name", each: 1, from: 1)
      guard let name = String(validating: bytes[place..<place + length], as: UTF8.self) else {
        throw problem("a name is not UTF-8")
      }
      place += length
      guard names.insert(ExactString(name)).inserted else { throw problem("`\(name)` is there twice") }
      let calls = Double(Int32(bitPattern: try u32()))
      let width = try count("values", each: 4, from: 1)
      guard calls > 0 else { throw problem("`\(name)` was called \(calls) times") }
      var values: [Double] = []
      values.reserveCapacity(width)
      for _ in 0..<width { values.append(Double(Float(bitPattern: try u32()))) }
      entries.append(Entry(name: name, width: width, counts: [calls], squareSums: values))
    }
    datasets = []
    (chunkCount, chunkSize) = (0, 0)
    guard place < bytes.count else { return }
    chunkCount = Int(Int32(bitPattern: try u32()))
    let length = try count("bytes of a path", each: 1, from: 0)
    datasets = [String(decoding: bytes[place..<place + length], as: UTF8.self)]
  }

  /// Means times chunks; experts that were never chosen are 1 throughout, as llama.cpp writes them.
  var legacyBytes: [UInt8] {
    var bytes = LittleEndianBytes()
    let calls = max(1, chunkCount)
    bytes.u32(entries.count)
    for entry in entries {
      bytes.u32(entry.name.utf8.count)
      bytes.text(entry.name)
      bytes.u32(calls)
      bytes.u32(entry.squareSums.count)
      for (index, sum) in entry.squareSums.enumerated() {
        let count = entry.counts[index / entry.width]
        bytes.f32(Float((count > 0 ? sum / count : 1) * Double(calls)))
      }
    }
    bytes.u32(chunkCount)
    bytes.u32(datasets.first?.utf8.count ?? 0)
    bytes.text(datasets.first ?? "")
    return bytes.bytes
  }
}
