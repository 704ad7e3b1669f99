import ArgumentParser
import EspalierBasics
import EspalierExecution

struct Verify: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Checks an output folder against its manifest, byte for byte.",
    discussion: """
      EXAMPLES
        espalier verify merged
      """)

  @Argument(help: "A folder that espalier wrote.", completion: .directory)
  var folder: String

  @OptionGroup var work: WorkOptions
  @OptionGroup var style: OutputStyle

  func run() throws {
    let listener = style.listener()
    do {
      let start = Machine.monotonicSeconds
      let outcome = try Verification.verify(folder, threads: work.threadCount, listener: listener)
      let seconds = Machine.monotonicSeconds - start
      listener.receive(.ended(stage: "verify", seconds: seconds))
      guard outcome.problems.isEmpty else { throw Failure(outcome.problems, json: style.json) }
      if style.json {
        print(
          JSON.object([
            ("event", "verified"), ("tensors", .number(outcome.tensors)), ("bytes", .number(outcome.bytes)),
            ("seconds", .number(seconds)),
          ]).text())
      } else if !style.quiet {
        print(
          "\(folder): \(outcome.tensors) tensors, \(ByteCount.text(outcome.bytes)), all as written "
            + "(\(Decimals.text(seconds, 2)) s)")
      }
    } catch let problem as Problem {
      throw Failure([problem], json: style.json)
    }
  }
}
