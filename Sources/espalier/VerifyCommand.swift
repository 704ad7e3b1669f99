import ArgumentParser
import EspalierBasics
import EspalierCheckpoints
import EspalierExecution
import EspalierRecipes

struct Verify: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Checks an output against its manifest, or packed files against their digests.",
    discussion: """
      EXAMPLES
        espalier verify merged
        espalier verify model-Q4_K_M.gguf
        espalier verify model-packed
        espalier verify tuned-packed --base elsewhere/base
      """)

  @Argument(help: "A folder or a GGUF file that espalier wrote.", completion: .directory)
  var output: String

  @Option(
    help: "Of packed files, the folder of what they were packed against, if it is not where it was.",
    completion: .directory)
  var base: String?

  @OptionGroup var work: WorkOptions
  @OptionGroup var style: OutputStyle

  func run() throws {
    let listener = style.listener()
    do {
      let start = Machine.monotonicSeconds
      let outcome = try verify(listener)
      let seconds = Machine.monotonicSeconds - start
      listener.receive(.ended(stage: "verify", seconds: seconds))
      let loss = PackedLoss(at: output)
      guard outcome.problems.isEmpty else { throw Failure(outcome.problems, json: style.json) }
      if style.json {
        print(
          JSON.object([
            ("event", "verified"), ("tensors", .number(outcome.tensors)), ("bytes", .number(outcome.bytes)),
            ("lossy", loss?.json ?? .null), ("seconds", .number(seconds)),
            ("peak_bytes", Machine.peakResidentBytes.map { .number($0) } ?? .null),
          ]).text())
      } else if !style.quiet {
        print(
          "\(output): \(outcome.tensors) tensors, \(ByteCount.text(outcome.bytes)), all as written "
            + "(\(Decimals.text(seconds, 2)) s)")
        if let summary = loss?.summary { print(summary) }
      }
    } catch let problem as Problem {
      throw Failure([problem], json: style.json)
    }
  }

  /// Of packed files the digests in them are checked, of all others those of the manifest.
  private func verify(_ listener: any ProgressListener) throws(Problem) -> Verification.Outcome {
    let packed = PackedVerification.files(at: output)
    guard packed.isEmpty else {
      return try PackedVerification.verify(
        output, base: base, threads: work.threadCount, memory: work.memoryBytes, listener: listener)
    }
    guard base == nil else {
      throw Problem(
        .archiveFormat, "--base is for packed files, and there is none", remedy: "Leave it out.", file: output)
    }
    let folder = output.hasSuffix(".gguf") ? QuantizationPlan.reportPath(ofWritten: output) : output
    return try Verification.verify(folder, threads: work.threadCount, listener: listener)
  }
}
