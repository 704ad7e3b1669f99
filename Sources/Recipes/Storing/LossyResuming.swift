internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution

/// What a run notes when everything is rounded, so that another goes on from there.
extension LossyRun {
  func state(_ result: Result) throws(Problem) -> JSON {
    [
      "files": .array(try digests().map { .string($0.description) }),
      "tensors": .array(
        zip(result.settings, result.losses).map { setting, loss in
          .array(
            [.number(setting.logarithm), .number(setting.offset), .number(loss.part), .number(loss.weightError)]
              + (loss.outputError.map { [.number($0)] } ?? []))
        }),
    ]
  }

  /// Of the rounded files.
  private func digests() throws(Problem) -> [Digest] {
    try entries.map { (entry) throws(Problem) in
      try FileSpans.digest(of: try File.reading(path(of: entry)), workers: workers)
    }
  }

  /// What an earlier run of the same request came to, if its rounded files are there with all their bytes.
  func earlier() -> Result? {
    guard plan.options.policy.resume, FileSystem.isFile(statePath),
      let bytes = try? FileSystem.read(statePath), let json = try? JSON(parsing: bytes),
      let entries = json["tensors"]?.array, entries.count == tensors.count,
      let files = json["files"]?.array, files.compactMap(\.string) == (try? digests())?.map(\.description)
    else { return nil }
    var result = Result(settings: [], losses: [])
    for (entry, tensor) in zip(entries, tensors) {
      guard let numbers = entry.array, numbers.count >= 4, let logarithm = numbers[0].number,
        let offset = numbers[1].number, numbers[2].integer == tensor.part, let error = numbers[3].number
      else { return nil }
      result.settings.append(LossyCurve.Setting(logarithm: logarithm, offset: offset, bytes: 0, cost: 0))
      result.losses.append(
        ArchiveLoss.Part(
          part: tensor.part, weightError: error, outputError: numbers.count > 4 ? numbers[4].number : nil))
    }
    return result
  }

  /// Removes what was needed on the way.
  func clear() throws(Problem) {
    for path in entries.map({ path(of: $0) }) + [statePath] where FileSystem.isFile(path) {
      try FileSystem.remove(path)
    }
  }
}
