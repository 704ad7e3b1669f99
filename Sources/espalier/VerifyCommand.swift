import ArgumentParser
import EspalierBasics
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
      """)

  @Argument(help: "A folder or a GGUF file that espalier wrote.", completion: .directory)
  var output: String

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
      return try PackedVerification.verify(output, threads: work.threadCount, listener: listener)
    }
    let folder = output.hasSuffix(".gguf") ? QuantizationPlan.reportPath(ofWritten: output) : output
    return try Verification.verify(folder, threads: work.threadCount, listener: listener)
  }
}
