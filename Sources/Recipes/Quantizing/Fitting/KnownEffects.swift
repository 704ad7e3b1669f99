internal import EspalierBasics

/// Effects that were measured, a line each, so that an interrupted measurement goes on.
struct KnownEffects {
  private let file: File
  private var end: Int
  private var known: [ExactString: Double] = [:]

  init(at path: String, record: JSON) throws(Problem) {
    file = try File.writing(path)
    let text = try file.read(try file.size(), at: 0)
    let lines = text.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).dropLast()
    let first = Array((record.text() + "\n").utf8)
    if let line = lines.first, line.elementsEqual(first.dropLast()) {
      end = first.count
      for line in lines.dropFirst() {
        guard let json = try? JSON(parsing: Array(line)), let name = json["tensor"]?.string,
          let divergence = json["kl"]?.number
        else { break }
        known[ExactString(name)] = divergence
        end += line.count + 1
      }
    } else {
      try file.write(first, at: 0)
      end = first.count
    }
    try file.resize(to: end)
  }

  mutating func divergence(
    of tensor: String, _ measure: () throws(Problem) -> Double
  ) throws(Problem) -> Double {
    if let found = known[ExactString(tensor)] { return found }
    let found = try measure()
    let line: JSON = ["tensor": .string(tensor), "kl": .number(found)]
    let bytes = Array((line.text() + "\n").utf8)
    try file.write(bytes, at: end)
    end += bytes.count
    return found
  }
}
