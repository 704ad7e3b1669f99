import ArgumentParser
import EspalierBasics
import EspalierCheckpoints
import EspalierExecution
import EspalierNetworks
import EspalierRecipes

struct Pack: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Stores a model in fewer bytes, every one of which comes back.",
    discussion: """
      Files of weights become NAME.packed; all others are copied. Every verb reads a packed model as it is: only the
      parts that are asked for are decoded. With --base, tensors are coded against those of another model that have
      their names; the base has to stay where it is. Everything is read back and compared before the packed model
      appears, and before --replace puts it in the model's place.

      With --lossy the matrices are rounded first, each as coarsely as makes the whole as small as is asked for: the size of the
      packed files is within 5 % of it. With --text or --statistics errors count by what they do to outputs. What comes
      back then are the rounded numbers; the files, `inspect`, `verify` and REPORT.md say so.

      EXAMPLES
        espalier pack model -o model-packed
        espalier pack model --lossy --ratio 6 --text book.txt -o model-small
        espalier pack model --lossy --size 20MB -o model-small
        espalier pack tuned --base base -o tuned-packed
        espalier pack model --replace
        espalier pack model.gguf -o model.gguf.packed
      """)

  @Argument(help: "A folder, or a safetensors or GGUF file.", completion: .directory)
  var model: String

  @Option(
    name: [.short, .long], help: "The folder to write; of a file, the file NAME.packed.", completion: .directory)
  var output: String?

  @Option(help: "A model that this one was made from: a folder or a file.", completion: .directory)
  var base: String?

  @Flag(help: "Put the packed model in the place of the model, once it has been read back.")
  var replace = false

  @Option(
    help: ArgumentHelp(
      "Bytes that are coded together, 64K to 16M (default: 512KiB; 2MiB with --lossy).", valueName: "size"))
  var chunk: String?

  @Flag(help: "Keep SHA-256 of every packed file.")
  var sha256 = false

  @OptionGroup(title: "With loss") var loss: LossyArguments

  @Flag(help: "Say what would be done, touch nothing.")
  var plan = false

  @Flag(help: "Continue an interrupted run.")
  var resume = false

  @Flag(help: "Replace an existing output, and start over if a partial one is there.")
  var force = false

  @OptionGroup var running: RunningOptions
  @OptionGroup var lookup: ModelLookup
  @OptionGroup var work: WorkOptions
  @OptionGroup var style: OutputStyle

  func validate() throws {
    if loss.lossy, replace {
      throw ValidationError("--replace is for what loses nothing: the model would be gone. Give --output.")
    }
    if loss.lossy, base != nil { throw ValidationError("--lossy has no --base.") }
    if (output == nil) == !replace { throw ValidationError("Give --output or --replace.") }
    if output != nil, replace { throw ValidationError("Give --output or --replace, not both.") }
    let chunk = chunkText
    guard let bytes = ByteCount.parse(chunk), (1 << 16...1 << 24).contains(bytes), bytes % 64 == 0 else {
      throw ValidationError("--chunk \(chunk) is not a size from 64 KiB to 16 MiB, a multiple of 64.")
    }
    if sha256, !FileHash.isAvailable { throw ValidationError("This program was built without SHA-256.") }
  }

  private var chunkText: String { chunk ?? (loss.lossy ? "2MiB" : "512KiB") }

  func run() throws {
    try reportingProblems(json: style.json) { () throws(Problems) in
      var model = model
      while model.count > 1, model.hasSuffix("/") { model.removeLast() }
      var output = output ?? model
      while output.count > 1, output.hasSuffix("/") { output.removeLast() }
      var options = PackingOptions(
        output: output, chunkBytes: ByteCount.parse(chunkText) ?? ArchiveHeader.standardChunkBytes,
        threads: work.threadCount,
        memory: work.memoryBytes)
      (options.base, options.replaces, options.hashes) = (base, replace, sha256)
      options.policy = OutputFolder.Policy(resume: resume, force: force)
      let listener = style.listener()
      let gathered = output + ".calibration"
      if loss.lossy {
        options.lossy = try loss.options(
          for: model, gathering: gathered, resume: resume, onlyPlan: self.plan, running, lookup, work, listener)
      }
      let plan = try PackingPlan(of: model, options)
      guard !self.plan else { return print(style.json ? plan.json.text() : plan.text) }
      if !style.quiet, !style.json { Machine.writeToStandardError(plan.summary + "\n") }
      do throws(Problem) {
        let report = try PackingRun.execute(plan, listener: listener)
        if loss.lossy, FileSystem.isFile(gathered) { try FileSystem.remove(gathered) }
        if style.json { print(report.json.text()) } else if !style.quiet { print(report.text) }
      } catch { throw Problems([error]) }
    }
  }
}

struct Unpack: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Gives back what was packed, byte for byte.",
    discussion: """
      EXAMPLES
        espalier unpack model-packed -o model
        espalier unpack tuned-packed --base elsewhere/base -o tuned
        espalier unpack model.gguf.packed -o model.gguf
      """)

  @Argument(help: "A folder with packed files, or a packed file.", completion: .directory)
  var model: String

  @Option(name: [.short, .long], help: "The folder or the file to write.", completion: .directory)
  var output: String

  @Option(help: "The folder of the base, if it is not where it was.", completion: .directory)
  var base: String?

  @Flag(help: "Continue an interrupted run.")
  var resume = false

  @Flag(help: "Replace an existing output, and start over if a partial one is there.")
  var force = false

  @OptionGroup var work: WorkOptions
  @OptionGroup var style: OutputStyle

  func run() throws {
    try reportingProblems(json: style.json) { () throws(Problems) in
      var output = output
      while output.count > 1, output.hasSuffix("/") { output.removeLast() }
      var options = UnpackingRun.Options(output: output, threads: work.threadCount, memory: work.memoryBytes)
      options.base = base
      options.policy = OutputFolder.Policy(resume: resume, force: force)
      let outcome = try UnpackingRun.execute(model, options, listener: style.listener())
      if style.json {
        print(
          JSON.object([
            ("event", "unpacked"), ("files", .number(outcome.files)), ("bytes", .number(outcome.bytes)),
            ("seconds", .number(outcome.seconds)),
            ("peak_bytes", Machine.peakResidentBytes.map { .number($0) } ?? .null),
          ]).text())
      } else if !style.quiet {
        let loss = PackedLoss(at: model)
        print(
          "\(output): \(outcome.files) files, \(ByteCount.text(outcome.bytes)) of weights, every byte as it was "
            + (loss == nil ? "" : "after rounding ") + "(\(Decimals.text(outcome.seconds, 2)) s)")
        if let summary = loss?.summary { print(summary) }
      }
    }
  }
}
