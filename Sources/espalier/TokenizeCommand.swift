import ArgumentParser
import EspalierBasics
import EspalierCheckpoints
import EspalierNetworks
import EspalierRecipes
import EspalierTokenizers

struct Tokenize: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Turns text into a model's tokens, and back.",
    discussion: """
      With --jsonl every line of standard input is a JSON string, and every line of output an object with ids, tokens
      and offsets (in code points, end exclusive). With --decode every line is an array of ids, and what comes out a
      JSON string. Lines are answered as they come. A text and --jsonl cut and pad as the tokenizer's file says; --count
      does not, as models that are run do not.

      EXAMPLES
        espalier tokenize model "Hello, world"
        espalier tokenize tokenizer.json --jsonl < strings.jsonl
        echo '[504, 3575]' | espalier tokenize model.gguf --decode
        espalier tokenize model --count book.txt
      """)

  @Argument(help: "A model, a tokenizer.json or a GGUF file.", completion: .file())
  var model: String

  @Argument(help: "Text to show the tokens of.")
  var text: String?

  @Flag(help: "Read JSON strings, one a line, from standard input.")
  var jsonl = false

  @Flag(help: "Read arrays of ids, one a line, from standard input, and print their texts.")
  var decode = false

  @Option(help: "Count the tokens of a text file, and say how fast.", completion: .file())
  var count: String?

  @Flag(name: .customLong("no-special-tokens"), help: "Put no special tokens around texts; skip none when decoding.")
  var noSpecialTokens = false

  @Flag(help: "With --count: print JSON.")
  var json = false

  @OptionGroup var lookup: ModelLookup
  @OptionGroup var work: WorkOptions

  func validate() throws {
    let modes = [text != nil, jsonl, decode, count != nil].filter { $0 }.count
    if modes != 1 { throw ValidationError("Give a text, --jsonl, --decode or --count FILE.") }
  }

  func run() throws {
    try reportingProblems(json: false) { () throws(Problems) in
      let tokenizer = try opened()
      do throws(Problem) {
        if let text { try show(try tokenizer.encode(text, addSpecialTokens: !noSpecialTokens)) }
        if jsonl { try encodeLines(tokenizer) }
        if decode { try decodeLines(tokenizer) }
        if let count { try countTokens(of: count, try tokenizer.withoutCutsAndPadding()) }
      } catch { throw Problems([error]) }
    }
  }

  private func opened() throws(Problems) -> Tokenizer {
    let isTokenizer = FileSystem.isFile(model) && model.hasSuffix(".json")
    let isFolderWithout = FileSystem.isFolder(model) && FileSystem.isFile("\(model)/tokenizer.json")
    do throws(Problem) {
      if isTokenizer || isFolderWithout { return try Tokenizer(at: model) }
    } catch { throw Problems([error]) }
    let checkpoint = try lookup.open(model)
    do throws(Problem) {
      // What the file says of cutting and padding is part of what is shown here.
      if let folder = checkpoint.folder, FileSystem.isFile("\(folder)/tokenizer.json") {
        return try Tokenizer(at: folder)
      }
      return try ModelTokenizer(of: checkpoint).tokenizer
    } catch { throw Problems([error]) }
  }

  private func show(_ encoding: Encoding) throws(Problem) {
    for index in encoding.ids.indices {
      let offsets = encoding.offsets[index]
      print(
        "\(encoding.ids[index])\t\(JSON.string(encoding.tokens[index]).text())\t\(offsets.lowerBound)-\(offsets.upperBound)"
      )
    }
  }

  private func encodeLines(_ tokenizer: Tokenizer) throws(Problem) {
    try forEachLine { (json) throws(Problem) in
      guard let text = json.string else { throw Problem(.networkInput, "expected a JSON string") }
      let encoding = try tokenizer.encode(text, addSpecialTokens: !noSpecialTokens)
      return .object([
        ("ids", .array(encoding.ids.map { .number(Int($0)) })), ("tokens", .array(encoding.tokens.map { .string($0) })),
        ("offsets", .array(encoding.offsets.map { [.number($0.lowerBound), .number($0.upperBound)] })),
      ])
    }
  }

  private func decodeLines(_ tokenizer: Tokenizer) throws(Problem) {
    try forEachLine { (json) throws(Problem) in
      let values = json["ids"]?.array ?? json.array
      guard let ids = values?.map({ $0.integer.flatMap { Int32(exactly: $0) } }), !ids.contains(nil) else {
        throw Problem(.networkInput, "expected an array of ids")
      }
      let known = ids.compactMap { $0 }
      if let id = known.first(where: { tokenizer.token($0) == nil }) {
        throw Problem(.networkInput, "the id \(id) is no token of the tokenizer")
      }
      return .string(try tokenizer.decode(known, skipSpecialTokens: !noSpecialTokens))
    }
  }

  /// Lines go through `body` side by side, as many as there are, and come out in order before more are waited for.
  ///
  /// - Throws: the first problem, when the lines before it have come out.
  private func forEachLine(_ body: (JSON) throws(Problem) -> JSON) throws(Problem) {
    let pool = WorkerPool(threads: work.threadCount)
    var input = StandardInput()
    var number = 0
    while let lines = try input.lines() {
      let results = try pool.map(lines.count) { (index) throws(Problem) -> Result<String, Problem> in
        do throws(Problem) {
          return .success(Self.oneLine(try body(JSON(parsing: lines[index])).text()))
        } catch { return .failure(error.of("line \(number + index + 1)")) }
      }
      for result in results { print(try result.get()) }
      number += lines.count
    }
  }

  /// With those characters escaped that some readers take for the end of a line.
  private static func oneLine(_ json: String) -> String {
    var text = ""
    for scalar in json.unicodeScalars {
      switch scalar {
      case "\u{85}": text += "\\u0085"
      case "\u{2028}": text += "\\u2028"
      case "\u{2029}": text += "\\u2029"
      default: text.unicodeScalars.append(scalar)
      }
    }
    return text
  }

  /// Counts, and times the text as one string and line by line.
  private func countTokens(of path: String, _ tokenizer: Tokenizer) throws(Problem) {
    let bytes = try FileSystem.read(path)
    let text = String(decoding: bytes, as: UTF8.self)
    let special = !noSpecialTokens
    let lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
      .map { String(decoding: $0, as: UTF8.self) }
    let began = Machine.monotonicSeconds
    let count = try tokenizer.ids(text, addSpecialTokens: special).count
    let whole = Machine.monotonicSeconds
    for line in lines { _ = try tokenizer.ids(line, addSpecialTokens: special) }
    let rates = [whole - began, Machine.monotonicSeconds - whole].map { Double(bytes.count) / 1e6 / max($0, 1e-9) }
    if json {
      print(
        JSON.object([
          ("tokens", .number(count)), ("bytes", .number(bytes.count)), ("mb_per_second", .number(rates[0])),
          ("lines_mb_per_second", .number(rates[1])),
        ]).text())
      return
    }
    let share = Decimals.text(Double(bytes.count) / Double(max(1, count)), 3)
    print("\(count) tokens in \(bytes.count) bytes, \(share) bytes a token")
    print(
      "\(Decimals.text(rates[0], 1)) MB/s as one string, \(Decimals.text(rates[1], 1)) MB/s line by line, one thread")
  }
}
