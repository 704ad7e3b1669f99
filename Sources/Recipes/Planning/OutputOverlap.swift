internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution

extension Problem.Code {
  static let outputOverlap = Problem.Code("output.input")
}

/// Keeps an output from replacing what it is made of.
enum OutputOverlap {
  /// - Throws: if the model is not on this machine.
  static func problems(
    writing output: String, reading reference: ModelReference, locator: ModelLocator
  ) throws(Problems) -> [Problem] {
    let (model, adapter) = try locator.paths(of: reference)
    let written = [output, OutputFolder.partialPath(for: output)]
    return [model, adapter].compactMap { $0 }.filter { input in
      written.contains { overlaps($0, input: input) }
    }.map { input in
      Problem(
        .outputOverlap, "the output \(output) and the input \(input) are one folder, or one lies in the other",
        remedy: "Choose another name for the output: inputs are never written to.", recipeLine: reference.line)
    }
  }

  /// Files beside the output's folder, written or replaced, that are those of the model that is read.
  static func problems(
    writing layout: OutputLayout, to folder: String, reading checkpoint: any Checkpoint
  ) -> [Problem] {
    guard layout.liesBeside else { return [] }
    let inputs = Set(checkpoint.weightFiles.map { resolved($0) })
    let names = layout.files.map(\.name) + OutputFolder.filesBeside(folder)
    return names.uniqued().map { FileSystem.join(FileSystem.parent(of: folder), $0) }
      .filter { inputs.contains(resolved($0)) }
      .map {
        Problem(
          .outputOverlap, "the output is the model that is read",
          remedy: "Choose another name for the output: inputs are never written to.", file: $0)
      }
  }

  /// Whether writing to `output` could touch `input`, a model's folder or its only file.
  static func overlaps(_ output: String, input: String) -> Bool {
    let (output, input) = (resolved(output), resolved(input))
    return contains(output, input) || contains(input, output)
  }

  private static func contains(_ folder: String, _ path: String) -> Bool {
    path == folder || path.hasPrefix(folder.hasSuffix("/") ? folder : folder + "/")
  }

  /// The path without links and dots, also where its end does not exist yet.
  private static func resolved(_ path: String) -> String {
    if let found = FileSystem.resolved(path) { return found }
    let parent = FileSystem.parent(of: path)
    return parent == path ? path : FileSystem.join(resolved(parent), FileSystem.lastComponent(of: path))
  }
}
